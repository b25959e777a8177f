//! Flight recordings by hand: [`Chunk`] writes whatever a test wants to say, also what is wrong; [`Recorder`] writes what
//! async-profiler would, in either encoding of integers.

/// Bytes of a chunk's header.
const HEADER_BYTES: usize = 68;

/// A value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `boolean` or `byte`.
    Byte(u8),
    /// `short` or `char`.
    Short(i16),
    /// `int`.
    Int(i32),
    /// `long`, and the key of a constant.
    Long(i64),
    /// A text with its encoding: 0 null, 1 empty, 3 UTF-8, 4 UTF-16, 5 ISO 8859-1.
    Text(u8, String),
    /// A text that is a constant.
    PooledText(i64),
    /// A count, and so many values.
    Array(Vec<Value>),
    /// Values after one another: a class in place.
    Struct(Vec<Value>),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// A field of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Id of its class.
    pub class: i64,
    /// Whether keys of constants are written.
    pub pooled: bool,
    /// Whether it is an array.
    pub array: bool,
}

/// A field that is a value.
pub fn field(name: &str, class: i64) -> Field {
    Field { name: name.to_owned(), class, pooled: false, array: false }
}

/// A field that is the key of a constant.
pub fn pooled(name: &str, class: i64) -> Field {
    Field { pooled: true, ..field(name, class) }
}

/// A field that is an array of values.
pub fn array(name: &str, class: i64) -> Field {
    Field { array: true, ..field(name, class) }
}

/// Constants of one class: keys and values.
pub type Pool = (i64, Vec<(i64, Value)>);

/// A chunk in work.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Whether integers are compressed.
    pub compressed: bool,
    /// Encoding of the metadata's strings.
    pub strings: u8,
    /// Id, name and fields of each class.
    pub classes: Vec<(i64, String, Vec<Field>)>,
    /// Type and fields of each event but the metadata.
    pub events: Vec<(i64, Value)>,
}

impl Value {
    /// A text in UTF-8.
    pub fn text(text: &str) -> Self {
        Self::Text(3, text.to_owned())
    }

    fn write(&self, compressed: bool, out: &mut Vec<u8>) {
        match self {
            Self::Byte(value) => out.push(*value),
            Self::Short(value) => number(out, compressed, 2, i64::from(*value as u16)),
            Self::Int(value) => number(out, compressed, 4, i64::from(*value as u32)),
            Self::Long(value) => number(out, compressed, 8, *value),
            Self::Text(encoding, text) => write_text(out, compressed, *encoding, text),
            Self::PooledText(key) => {
                out.push(2);
                number(out, compressed, 8, *key);
            }
            Self::Array(values) => {
                number(out, compressed, 4, values.len() as i64);
                values.iter().for_each(|value| value.write(compressed, out));
            }
            Self::Struct(values) => values.iter().for_each(|value| value.write(compressed, out)),
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Appends an integer: up to nine bytes of seven bits, the ninth of eight; or `width` bytes, the highest first.
pub fn number(out: &mut Vec<u8>, compressed: bool, width: usize, value: i64) {
    if !compressed {
        out.extend_from_slice(&value.to_be_bytes()[8 - width..]);
        return;
    }
    let mut value = value as u64;
    for _ in 0..8 {
        if value < 0x80 {
            break;
        }
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_text(out: &mut Vec<u8>, compressed: bool, encoding: u8, text: &str) {
    out.push(encoding);
    match encoding {
        0 | 1 => {}
        4 => {
            let units: Vec<u16> = text.encode_utf16().collect();
            number(out, compressed, 4, units.len() as i64);
            units.iter().for_each(|unit| number(out, compressed, 2, i64::from(*unit)));
        }
        5 => {
            number(out, compressed, 4, text.chars().count() as i64);
            out.extend(text.chars().map(|c| c as u8));
        }
        _ => {
            number(out, compressed, 4, text.len() as i64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

impl Chunk {
    /// A chunk without classes and events.
    pub fn new(compressed: bool) -> Self {
        Self { compressed, strings: 3, classes: Vec::new(), events: Vec::new() }
    }

    /// Adds a class.
    pub fn class(&mut self, id: i64, name: &str, fields: &[Field]) {
        self.classes.push((id, name.to_owned(), fields.to_vec()));
    }

    /// Adds an event.
    pub fn event(&mut self, ty: i64, fields: Vec<Value>) {
        self.events.push((ty, Value::Struct(fields)));
    }

    /// Adds an event with constants.
    pub fn checkpoint(&mut self, pools: &[Pool]) {
        let constant = |(key, value): &(i64, Value)| Value::Struct(vec![Value::Long(*key), value.clone()]);
        let pool = |(class, constants): &Pool| {
            Value::Struct(vec![Value::Long(*class), Value::Array(constants.iter().map(constant).collect())])
        };
        let head = [Value::Long(1), Value::Long(0), Value::Long(0), Value::Byte(1)];
        let pools = Value::Array(pools.iter().map(pool).collect());
        self.event(1, head.into_iter().chain([pools]).collect());
    }

    /// The bytes: header, events, and the metadata last.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        let mut checkpoint = 0;
        for (ty, fields) in &self.events {
            if *ty == 1 {
                checkpoint = out.len();
            }
            self.push(*ty, fields, &mut out);
        }
        let metadata = out.len();
        self.push(0, &self.metadata(), &mut out);
        let size = out.len() as u64;
        out[..8].copy_from_slice(b"FLR\0\0\x02\0\x01");
        let longs =
            [size, checkpoint as u64, metadata as u64, 1_700_000_000_000_000_000, 10, 5, 1_000_000_000];
        for (at, long) in longs.into_iter().enumerate() {
            out[8 + 8 * at..16 + 8 * at].copy_from_slice(&long.to_be_bytes());
        }
        out[HEADER_BYTES - 1] = u8::from(self.compressed);
        out
    }

    fn push(&self, ty: i64, fields: &Value, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        number(&mut body, self.compressed, 8, ty);
        fields.write(self.compressed, &mut body);
        // The size counts itself; as profilers do, it is written in four bytes whatever it is.
        let size = body.len() as u32 + 4;
        if self.compressed {
            out.extend((0..4).map(|at| (size >> (7 * at)) as u8 & 0x7f | if at < 3 { 0x80 } else { 0 }));
        } else {
            out.extend_from_slice(&size.to_be_bytes());
        }
        out.extend(body);
    }

    fn metadata(&self) -> Value {
        let mut strings: Vec<String> = Vec::new();
        let classes = self.classes.iter().map(|(id, name, fields)| {
            let fields = fields.iter().map(|field| {
                let mut attributes = vec![("name", field.name.clone()), ("class", field.class.to_string())];
                if field.pooled {
                    attributes.push(("constantPool", "true".to_owned()));
                }
                if field.array {
                    attributes.push(("dimension", "1".to_owned()));
                }
                element(&mut strings, "field", &attributes, Vec::new())
            });
            let mut children: Vec<Value> = fields.collect();
            children.push(element(&mut strings, "annotation", &[("class", "99".to_owned())], Vec::new()));
            let attributes = [("name", name.clone()), ("id", id.to_string())];
            element(&mut strings, "class", &attributes, children)
        });
        let classes = classes.collect();
        let metadata = element(&mut strings, "metadata", &[], classes);
        let region = element(&mut strings, "region", &[("locale", "en".to_owned())], Vec::new());
        let root = element(&mut strings, "root", &[], vec![metadata, region]);
        let strings = strings.into_iter().map(|text| Value::Text(self.strings, text)).collect();
        let head = [Value::Long(1), Value::Long(0), Value::Long(1)];
        Value::Struct(head.into_iter().chain([Value::Array(strings), root]).collect())
    }
}

fn element(
    strings: &mut Vec<String>,
    name: &str,
    attributes: &[(&str, String)],
    children: Vec<Value>,
) -> Value {
    let mut string = |text: &str| {
        let at = strings.iter().position(|other| other == text).unwrap_or_else(|| {
            strings.push(text.to_owned());
            strings.len() - 1
        });
        Value::Int(at as i32)
    };
    let name = string(name);
    let pair = |(key, value): &(&str, String)| Value::Struct(vec![string(key), string(value)]);
    let attributes = attributes.iter().map(pair).collect();
    Value::Struct(vec![name, Value::Array(attributes), Value::Array(children)])
}

const INT: i64 = 10;
const LONG: i64 = 11;
const STRING: i64 = 20;
const CLASS: i64 = 21;
const THREAD: i64 = 22;
const FRAME_TYPE: i64 = 24;
const STATE: i64 = 25;
const STACK: i64 = 26;
const FRAME: i64 = 27;
const METHOD: i64 = 28;
const SYMBOL: i64 = 32;
const SETTING: i64 = 100;

/// The events that a [`Recorder`] knows, and their value.
const EVENTS: [(&str, &str); 9] = [
    ("jdk.ExecutionSample", "rank"),
    ("profiler.WallClockSample", "samples"),
    ("jdk.ObjectAllocationInNewTLAB", "tlabSize"),
    ("jdk.ObjectAllocationOutsideTLAB", "allocationSize"),
    ("jdk.ObjectAllocationSample", "weight"),
    ("jdk.JavaMonitorEnter", "duration"),
    ("jdk.ThreadPark", "duration"),
    ("profiler.LiveObject", "age"),
    ("profiler.Malloc", "size"),
];

/// Where an event of a [`Recorder`] belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Belongs {
    /// `contextId`.
    pub context: i64,
    /// `spanId`.
    pub span: i64,
    /// `spanName`.
    pub span_name: i64,
    /// `traceIdHi`, `traceIdLo`.
    pub trace: (i64, i64),
}

/// Writes one chunk with events that have stacks.
#[derive(Debug, Clone)]
pub struct Recorder {
    chunk: Chunk,
    symbols: Vec<String>,
    classes: Vec<String>,
    methods: Vec<(i64, i64)>,
    stacks: Vec<String>,
    states: Vec<String>,
}

/// The key of a constant: its place, from 1.
fn key(constants: &mut Vec<String>, text: &str) -> i64 {
    if let Some(at) = constants.iter().position(|other| other == text) {
        return at as i64 + 1;
    }
    constants.push(text.to_owned());
    constants.len() as i64
}

impl Recorder {
    /// An empty chunk that declares all classes.
    pub fn new(compressed: bool) -> Self {
        let mut chunk = Chunk::new(compressed);
        let primitives =
            ["boolean", "char", "float", "double", "byte", "short", "int", "long"].into_iter().zip(4..);
        primitives.for_each(|(name, id)| chunk.class(id, name, &[]));
        chunk.class(STRING, "java.lang.String", &[]);
        chunk.class(CLASS, "java.lang.Class", &[pooled("name", SYMBOL), field("modifiers", INT)]);
        chunk.class(THREAD, "java.lang.Thread", &[field("osName", STRING), field("osThreadId", LONG)]);
        chunk.class(FRAME_TYPE, "jdk.types.FrameType", &[field("description", STRING)]);
        chunk.class(STATE, "jdk.types.ThreadState", &[field("name", STRING)]);
        chunk.class(STACK, "jdk.types.StackTrace", &[field("truncated", 4), array("frames", FRAME)]);
        let frame = [
            pooled("method", METHOD),
            field("lineNumber", INT),
            field("bytecodeIndex", INT),
            pooled("type", FRAME_TYPE),
        ];
        chunk.class(FRAME, "jdk.types.StackFrame", &frame);
        let method =
            [pooled("type", CLASS), pooled("name", SYMBOL), pooled("descriptor", SYMBOL), field("hidden", 4)];
        chunk.class(METHOD, "jdk.types.Method", &method);
        chunk.class(SYMBOL, "jdk.types.Symbol", &[field("string", STRING)]);
        chunk.class(
            SETTING,
            "jdk.ActiveSetting",
            &[field("id", LONG), field("name", STRING), field("value", STRING)],
        );
        for ((name, value), id) in EVENTS.into_iter().zip(SETTING + 1..) {
            let fields = [
                field("startTime", LONG),
                field(value, LONG),
                pooled("eventThread", THREAD),
                pooled("stackTrace", STACK),
                pooled("state", STATE),
                field("contextId", LONG),
                field("spanId", LONG),
                field("spanName", LONG),
                field("traceIdHi", LONG),
                field("traceIdLo", LONG),
            ];
            chunk.class(id, name, &fields);
        }
        let none = Vec::new;
        Self { chunk, symbols: none(), classes: none(), methods: Vec::new(), stacks: none(), states: none() }
    }

    /// Adds an active setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.chunk.event(SETTING, vec![Value::Long(1), Value::text(name), Value::text(value)]);
        self
    }

    /// Adds an event: its stack is `class.method:line` of each frame, root first, with `;` between; "" is no stack.
    #[must_use]
    pub fn event(mut self, name: &str, stack: &str, state: &str, value: i64, belongs: Belongs) -> Self {
        let at = EVENTS.iter().position(|(other, _)| *other == name);
        let id = SETTING + 1 + at.unwrap_or_else(|| panic!("no event {name}")) as i64;
        let stack = if stack.is_empty() { 0 } else { key(&mut self.stacks, stack) };
        let state = key(&mut self.states, state);
        let longs = [
            1,
            value,
            7,
            stack,
            state,
            belongs.context,
            belongs.span,
            belongs.span_name,
            belongs.trace.0,
            belongs.trace.1,
        ];
        self.chunk.event(id, longs.into_iter().map(Value::Long).collect());
        self
    }

    /// The chunk, for tests that want to change it.
    pub fn chunk(mut self) -> Chunk {
        let stacks = std::mem::take(&mut self.stacks);
        let stacks: Vec<Value> = stacks.iter().map(|stack| self.stack(stack)).collect();
        let text = |text: &String| Value::text(text);
        let states = self.states.iter().map(text).collect();
        let symbols = self.symbols.iter().map(text).collect();
        let class = |name: &String| {
            let at = self.symbols.iter().position(|symbol| symbol == name).map_or(0, |at| at as i64 + 1);
            Value::Struct(vec![Value::Long(at), Value::Int(1)])
        };
        let classes = self.classes.iter().map(class).collect();
        let method = |(class, name): &(i64, i64)| {
            Value::Struct(vec![Value::Long(*class), Value::Long(*name), Value::Long(0), Value::Byte(0)])
        };
        let methods = self.methods.iter().map(method).collect();
        let pool = |class, values: Vec<Value>| (class, (1..).zip(values).collect::<Vec<_>>());
        let threads = vec![(7, Value::Struct(vec![Value::text("main"), Value::Long(42)]))];
        // Two checkpoints: the constants of a chunk are those of all of them.
        self.chunk.checkpoint(&[pool(STACK, stacks), (THREAD, threads), pool(STATE, states)]);
        self.chunk.checkpoint(&[pool(METHOD, methods), pool(CLASS, classes), pool(SYMBOL, symbols)]);
        self.chunk
    }

    fn stack(&mut self, stack: &str) -> Value {
        let frames = stack.split(';').rev().map(|frame| {
            let (name, line) = frame.rsplit_once(':').unwrap_or((frame, "0"));
            let (class, method) = name.rsplit_once('.').unwrap_or(("", name));
            key(&mut self.symbols, class);
            let pair = (key(&mut self.classes, class), key(&mut self.symbols, method));
            let at = self.methods.iter().position(|other| *other == pair).unwrap_or_else(|| {
                self.methods.push(pair);
                self.methods.len() - 1
            });
            let line = line.parse().expect("a line");
            Value::Struct(vec![Value::Long(at as i64 + 1), Value::Int(line), Value::Int(-1), Value::Long(1)])
        });
        Value::Struct(vec![Value::Byte(0), Value::Array(frames.collect())])
    }

    /// The bytes.
    pub fn encode(self) -> Vec<u8> {
        self.chunk().encode()
    }
}
