//! Reads the structs of settings and limits, and the flags, from their sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, Expr, ExprLit, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// Folders and files of each crate that hold settings; a type is looked for in its own crate first.
const CRATES: &[&[&str]] = &[&["common/settings/src"], &["common/src/limits.rs", "common/src/limits"]];
const FLAGS: &str = "common/node/src/args.rs";

/// Everything that the pages say.
pub(super) struct Model {
    pub(super) settings: Section,
    pub(super) flags: Vec<Flag>,
}

/// A map with known keys.
#[derive(Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) keys: Vec<Key>,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) kind: Kind,
}

#[derive(Clone)]
pub(super) enum Kind {
    Text,
    Path,
    Bool,
    Whole,
    Signed,
    Number,
    Duration,
    Size,
    Choice(Vec<(String, String)>),
    Optional(Box<Kind>),
    List(Box<Kind>),
    Map(Box<Kind>),
    Section(Box<Section>),
}

/// A flag; with the key that it sets, if it is a setting.
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) doc: String,
    /// Of the programs of a cluster only.
    pub(super) cluster: bool,
}

struct Sources(Vec<BTreeMap<String, Item>>);

impl Model {
    /// Reads the sources below `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut crates = Vec::new();
        for places in CRATES {
            let mut items = BTreeMap::new();
            for place in *places {
                for file in files(&root.join(place))? {
                    for item in parse(&file)?.items {
                        let name = match &item {
                            Item::Struct(item) => item.ident.to_string(),
                            Item::Enum(item) => item.ident.to_string(),
                            _ => continue,
                        };
                        items.insert(name, item);
                    }
                }
            }
            crates.push(items);
        }
        let settings = match Sources(crates).named(0, "Settings", 0)? {
            Kind::Section(section) => *section,
            _ => bail!("Settings is no struct"),
        };
        Ok(Self { settings, flags: flags(&root.join(FLAGS))? })
    }
}

impl Sources {
    /// The type of this name as `from`, the crate that names it, sees it.
    fn named(&self, from: usize, name: &str, depth: usize) -> Result<Kind> {
        if depth > 8 {
            bail!("{name} holds itself");
        }
        let order = std::iter::once(from).chain(0..self.0.len());
        let found = order.into_iter().find_map(|at| Some((at, self.0[at].get(name)?)));
        let (home, item) = found.with_context(|| format!("type {name} is in none of {CRATES:?}"))?;
        match item {
            Item::Struct(item) => {
                let Fields::Named(fields) = &item.fields else { bail!("{name} has no named fields") };
                let key = |field: &syn::Field| {
                    let ident = field.ident.as_ref().context("a field without a name")?.to_string();
                    let kind = self.kind(home, &field.ty, depth).with_context(|| ident.clone())?;
                    Ok(Key { name: renamed(&field.attrs)?.unwrap_or(ident), doc: doc(&field.attrs), kind })
                };
                let keys = fields.named.iter().map(key).collect::<Result<_>>()?;
                Ok(Kind::Section(Box::new(Section { name: name.to_owned(), doc: doc(&item.attrs), keys })))
            }
            Item::Enum(item) => {
                let of_serde = |a: &Attribute| a.path().is_ident("serde");
                let lowercase = item.attrs.iter().any(|a| of_serde(a) && text_of(a).contains("lowercase"));
                let choice = |variant: &syn::Variant| {
                    let named = match renamed(&variant.attrs)? {
                        Some(named) => named,
                        None if lowercase => variant.ident.to_string().to_ascii_lowercase(),
                        None => bail!("enum {name} is not named in lowercase: teach this reader its names"),
                    };
                    Ok((named, doc(&variant.attrs)))
                };
                Ok(Kind::Choice(item.variants.iter().map(choice).collect::<Result<_>>()?))
            }
            _ => bail!("{name} is neither struct nor enum"),
        }
    }

    fn kind(&self, from: usize, ty: &Type, depth: usize) -> Result<Kind> {
        let Type::Path(path) = ty else { bail!("a type that is no path") };
        let last = path.path.segments.last().context("an empty path")?;
        let argument = || {
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { bail!("no argument") };
            match arguments.args.last() {
                Some(GenericArgument::Type(ty)) => self.kind(from, ty, depth).map(Box::new),
                _ => bail!("no type as argument"),
            }
        };
        Ok(match last.ident.to_string().as_str() {
            "String" => Kind::Text,
            "PathBuf" => Kind::Path,
            "bool" => Kind::Bool,
            "u8" | "u16" | "u32" | "u64" | "usize" => Kind::Whole,
            "i32" | "i64" => Kind::Signed,
            "f64" => Kind::Number,
            "GoDuration" => Kind::Duration,
            "ByteSize" => Kind::Size,
            "Option" => Kind::Optional(argument()?),
            "Vec" => Kind::List(argument()?),
            "BTreeMap" => Kind::Map(argument()?),
            name => self.named(from, name, depth + 1)?,
        })
    }
}

fn files(place: &Path) -> Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(place).with_context(|| place.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn parse(file: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    syn::parse_file(&text).with_context(|| file.display().to_string())
}

/// The comment of an item in one line.
fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn text_of(attribute: &Attribute) -> String {
    match &attribute.meta {
        Meta::List(list) => list.tokens.to_string(),
        _ => String::new(),
    }
}

/// The name that serde gives a field; what else changes its shape is not known here.
fn renamed(attributes: &[Attribute]) -> Result<Option<String>> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let text = text_of(attribute);
        if text.contains("flatten") || text.contains("skip)") {
            bail!("serde({text}): teach this reader what it means");
        }
        if let Some((_, rest)) = text.split_once("rename = \"") {
            return Ok(rest.split('"').next().map(str::to_owned));
        }
    }
    Ok(None)
}

/// The flags of the programs: their comments, and which keys they set, from the tables of `args.rs`.
fn flags(file: &Path) -> Result<Vec<Flag>> {
    let (mut flags, mut keys) = (Vec::new(), BTreeMap::new());
    let tokens: Result<TokenStream, _> = fs::read_to_string(file)?.parse();
    pairs(tokens.map_err(|error| anyhow!("{FLAGS}: {error}"))?, &mut keys);
    for item in &parse(file)?.items {
        match item {
            Item::Struct(item) if item.ident == "CommonArgs" || item.ident == "RoleArgs" => {
                let cluster = item.ident == "RoleArgs";
                for field in &item.fields {
                    let Some(arg) = field.attrs.iter().find(|a| a.path().is_ident("arg")) else { continue };
                    let ident = field.ident.as_ref().context("a field without a name")?.to_string();
                    let name = match text_of(arg).split_once("long = \"") {
                        Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
                        None => ident.replace('_', "-"),
                    };
                    flags.push(Flag {
                        name: format!("--{name}"),
                        key: None,
                        doc: doc(&field.attrs),
                        cluster,
                    });
                }
            }
            _ => {}
        }
    }
    // `command` and the like are no flags.
    flags.retain(|flag| flag.name != "--common");
    for flag in &mut flags {
        flag.key = keys.remove(&flag.name);
    }
    if let Some((flag, _)) = keys.into_iter().next() {
        bail!("{FLAGS} sets a key by {flag}, and no field has that name");
    }
    Ok(flags)
}

/// All `("--flag", "key", …`: the tables that say which key a flag sets.
fn pairs(stream: TokenStream, found: &mut BTreeMap<String, String>) {
    for tree in stream {
        let TokenTree::Group(group) = tree else { continue };
        let inner: Vec<TokenTree> = group.stream().into_iter().take(3).collect();
        if let (
            Delimiter::Parenthesis,
            [TokenTree::Literal(flag), TokenTree::Punct(_), TokenTree::Literal(key)],
        ) = (group.delimiter(), &inner[..])
        {
            let text = |literal: &proc_macro2::Literal| literal.to_string().trim_matches('"').to_owned();
            if text(flag).starts_with("--") {
                found.insert(text(flag), text(key));
            }
        }
        pairs(group.stream(), found);
    }
}
