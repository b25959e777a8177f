//! From keys to what they stand for: texts, functions, locations, stacks, states. Each constant is read once a chunk, however
//! often it is named.

use hashbrown::HashMap;

use super::cursor::Text;
use super::layout::{Form, Layouts, Picks};
use super::pools::{Pool, Pools};
use super::{Broken, Fault, Function, Location, Recording, State};

const SLEEPING: &str = "STATE_SLEEPING";
const RUNNABLE: &str = "STATE_RUNNABLE";

/// Stands for a constant that is not there.
pub(super) const NONE: u32 = u32::MAX;

/// The picked fields of the constants that frames are made of; `None` where the chunk has no such class.
struct Shapes {
    /// `frames`.
    stack: Option<Picks<1>>,
    /// `method`, `lineNumber`.
    frame: Option<Picks<2>>,
    /// `type`, `name`.
    method: Option<Picks<2>>,
    /// `name`.
    class: Option<Picks<1>>,
    /// `string`.
    symbol: Option<Picks<1>>,
    /// `name`.
    state: Option<Picks<1>>,
}

/// Resolves the constants of one chunk into a recording.
pub(super) struct Resolver<'r, 'm, 'a> {
    pools: &'r Pools<'a>,
    pub(super) layouts: &'r Layouts<'m, 'a>,
    shapes: Shapes,
    pub(super) out: &'r mut Recording,
    texts: HashMap<(bool, i64), u32>,
    classes: HashMap<i64, u32>,
    functions: HashMap<i64, u32>,
    locations: HashMap<(i64, i32), u32>,
    stacks: HashMap<i64, u32>,
    states: HashMap<i64, State>,
}

impl Shapes {
    fn new(pools: &Pools<'_>, layouts: &mut Layouts<'_, '_>) -> Result<Self, Fault> {
        fn of<const N: usize>(
            class: Option<u32>,
            layouts: &mut Layouts<'_, '_>,
            names: [&str; N],
        ) -> Result<Option<Picks<N>>, Fault> {
            class.map(|class| layouts.picks(class, names)).transpose()
        }
        let stack = of(pools.class(Pool::Stack, layouts), layouts, ["frames"])?;
        let frame = match &stack {
            Some(Picks { forms: [Form::Array(class)], .. }) => Some(*class),
            _ => None,
        };
        Ok(Self {
            frame: frame.map(|class| layouts.picks_whole(class, ["method", "lineNumber"])).transpose()?,
            stack,
            method: of(pools.class(Pool::Method, layouts), layouts, ["type", "name"])?,
            class: of(pools.class(Pool::Class, layouts), layouts, ["name"])?,
            symbol: of(pools.class(Pool::Symbol, layouts), layouts, ["string"])?,
            state: of(pools.class(Pool::State, layouts), layouts, ["name"])?,
        })
    }
}

impl<'r, 'm, 'a> Resolver<'r, 'm, 'a> {
    pub(super) fn new(
        pools: &'r Pools<'a>,
        layouts: &'r mut Layouts<'m, 'a>,
        out: &'r mut Recording,
    ) -> Result<Self, Fault> {
        let shapes = Shapes::new(pools, layouts)?;
        Ok(Self {
            pools,
            layouts,
            shapes,
            out,
            texts: HashMap::new(),
            classes: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            stacks: HashMap::new(),
            states: HashMap::new(),
        })
    }

    /// Whether a field holds keys of stacks.
    pub(super) fn is_stack(&self, form: Form) -> bool {
        self.pools.is_key(form, Pool::Stack)
    }

    /// The number of a stack in the recording; [`NONE`] when it is not there or has no frames.
    pub(super) fn stack(&mut self, key: i64) -> Result<u32, Broken> {
        if let Some(stack) = self.stacks.get(&key) {
            return Ok(*stack);
        }
        let first = self.out.frames.len();
        self.frames(key)?;
        let mut stack = NONE;
        if self.out.frames.len() > first {
            stack = self.out.stack_ends.len() as u32;
            self.out.stack_ends.push(self.out.frames.len() as u32);
        }
        self.stacks.insert(key, stack);
        Ok(stack)
    }

    /// Appends the locations of a stack, leaf first; frames whose method is not there are left out.
    fn frames(&mut self, key: i64) -> Result<(), Broken> {
        let Some((mut at, stack)) = self.pools.get(Pool::Stack, key).zip(self.shapes.stack.as_ref()) else {
            return Ok(());
        };
        let [offset] = self.layouts.pick(&mut at, stack)?;
        // Methods are read while frames are: the shape of frames is taken out for as long.
        let Some(frame) = self.shapes.frame.take() else { return Ok(()) };
        let mut at = self.pools.place().from(offset as usize);
        let count = at.count(1)?;
        self.out.frames.reserve(count);
        for _ in 0..count {
            let [method, line] = self.layouts.pick(&mut at, &frame)?;
            let line = line as i32;
            let location = match self.locations.get(&(method, line)) {
                Some(location) => *location,
                None => self.location(method, line)?,
            };
            if location != NONE {
                self.out.frames.push(location);
            }
        }
        self.shapes.frame = Some(frame);
        Ok(())
    }

    fn location(&mut self, method: i64, line: i32) -> Result<u32, Broken> {
        let function = self.function(method)?;
        let mut location = NONE;
        if function != NONE {
            location = self.out.locations.len() as u32;
            self.out.locations.push(Location { function, line });
        }
        self.locations.insert((method, line), location);
        Ok(location)
    }

    fn function(&mut self, key: i64) -> Result<u32, Broken> {
        if let Some(function) = self.functions.get(&key) {
            return Ok(*function);
        }
        let mut function = NONE;
        let method = self.pools.get(Pool::Method, key).zip(self.shapes.method.as_ref());
        if let Some((mut at, picks)) = method {
            let forms = picks.forms;
            let [class, name] = self.layouts.pick(&mut at, picks)?;
            let class = if self.pools.is_key(forms[0], Pool::Class) { self.class(class)? } else { NONE };
            let method = self.text(forms[1], name)?;
            function = self.out.functions.len() as u32;
            self.out.functions.push(Function { class, method });
        }
        self.functions.insert(key, function);
        Ok(function)
    }

    /// The name of a class, as a text.
    fn class(&mut self, key: i64) -> Result<u32, Broken> {
        if let Some(name) = self.classes.get(&key) {
            return Ok(*name);
        }
        let mut name = NONE;
        let class = self.pools.get(Pool::Class, key).zip(self.shapes.class.as_ref());
        if let Some((mut at, picks)) = class {
            let form = picks.forms[0];
            let [value] = self.layouts.pick(&mut at, picks)?;
            name = self.text(form, value)?;
        }
        self.classes.insert(key, name);
        Ok(name)
    }

    /// The state of a thread, by a picked field.
    pub(super) fn state(&mut self, form: Form, value: i64) -> Result<State, Broken> {
        if !self.pools.is_key(form, Pool::State) {
            let text = self.text(form, value)?;
            return Ok(self.state_of(text));
        }
        if let Some(state) = self.states.get(&value) {
            return Ok(*state);
        }
        let mut state = State::Unknown;
        let constant = self.pools.get(Pool::State, value).zip(self.shapes.state.as_ref());
        if let Some((mut at, picks)) = constant {
            let form = picks.forms[0];
            let [name] = self.layouts.pick(&mut at, picks)?;
            let name = self.text(form, name)?;
            state = self.state_of(name);
        }
        self.states.insert(value, state);
        Ok(state)
    }

    fn state_of(&self, text: u32) -> State {
        match self.out.text(text) {
            "" => State::Unknown,
            SLEEPING => State::Sleeping,
            RUNNABLE => State::Runnable,
            _ => State::Other,
        }
    }

    /// The text of a picked field: in place, of the pool of texts, or a symbol; [`NONE`] when it is none of these.
    pub(super) fn text(&mut self, form: Form, value: i64) -> Result<u32, Broken> {
        if form == Form::Text {
            return self.text_at(value as usize);
        }
        let symbol = self.pools.is_key(form, Pool::Symbol);
        if !symbol && !self.pools.is_key(form, Pool::Text) {
            return Ok(NONE);
        }
        if let Some(text) = self.texts.get(&(symbol, value)) {
            return Ok(*text);
        }
        let text = if symbol { self.symbol(value)? } else { self.pooled(value)? };
        self.texts.insert((symbol, value), text);
        Ok(text)
    }

    fn symbol(&mut self, key: i64) -> Result<u32, Broken> {
        let Some((mut at, picks)) = self.pools.get(Pool::Symbol, key).zip(self.shapes.symbol.as_ref()) else {
            return Ok(NONE);
        };
        let form = picks.forms[0];
        let [value] = self.layouts.pick(&mut at, picks)?;
        // A symbol is no symbol of a symbol: there would be no end.
        if self.pools.is_key(form, Pool::Symbol) { Ok(NONE) } else { self.text(form, value) }
    }

    fn text_at(&mut self, offset: usize) -> Result<u32, Broken> {
        match self.pools.place().from(offset).text()? {
            Text::Pool(key) => match self.pools.text_id() {
                Some(id) => self.text(Form::Key(id), key),
                None => Ok(NONE),
            },
            text => self.out.push_text(text),
        }
    }

    fn pooled(&mut self, key: i64) -> Result<u32, Broken> {
        match self.pools.get(Pool::Text, key).map(|mut at| at.text()).transpose()? {
            None | Some(Text::Pool(_)) => Ok(NONE),
            Some(text) => self.out.push_text(text),
        }
    }
}
