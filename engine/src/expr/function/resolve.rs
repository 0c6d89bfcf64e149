//! A name and bound arguments → a typed call, or what the function stands for.
//!
//! The first overload wins whose parameters take the arguments as they are, then the first that
//! takes them after a cast that goes without saying: whole numbers to int64, numbers to float64, a
//! date to a timestamp, a text literal to a date or timestamp, null to anything.

use arrow::datatypes::DataType;

use super::{Function, Kind, Overload, Run, Signature, Volatility, instant, public};
use crate::expr::{
    Expr, Literal, cast,
    coerce::{coerce, common, unified},
    parse::{ParseErrorKind, list_of, nearest, type_name},
};

/// Why there is no such call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of thing is wrong.
    pub kind: ParseErrorKind,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Functions that are asked for and are none, with what to say instead.
const ELSEWHERE: [(&[&str], &str); 5] = [
    (&["position"], "is spelled `position(part in text)`, or `strpos(text, part)`"),
    (
        &["random", "rand", "setseed"],
        "is not offered: a task that runs again would draw other numbers; take `sample` for some of \
         the rows, or `hash(...)` of a key for numbers that stay",
    ),
    (
        &["uuid", "gen_random_uuid", "uuidv4", "uuidv7"],
        "is not offered: a task that runs again would draw others; take `md5` or `sha256` of a key",
    ),
    (
        &["unnest", "explode"],
        "makes rows; say {\"op\":\"flat_map\",\"fn\":\"explode\",\"column\":...}",
    ),
    (
        &["row_number", "rank", "dense_rank", "ntile", "lag", "lead", "percent_rank", "cume_dist"],
        "is a window function; it stands in `with` of window",
    ),
];

/// The call of the function `name`, an alias or of another case too, with `arguments`.
///
/// # Errors
/// That there is no such function, or that it does not take the arguments.
pub fn resolve(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    call(find(name)?, arguments)
}

/// The function of this name or alias, whatever its case.
///
/// # Errors
/// That there is none, with the one that was probably meant.
pub fn find(name: &str) -> Result<&'static Signature> {
    if let Some(signature) = Function::find(name) {
        return Ok(signature);
    }
    let lower = name.to_ascii_lowercase();
    let elsewhere = ELSEWHERE.iter().find(|(names, _)| names.contains(&lower.as_str()));
    if let Some((_, advice)) = elsewhere {
        let message = format!("`{name}` {advice}");
        return Err(Refusal { kind: ParseErrorKind::NotSupported, message, suggestion: None });
    }
    let names =
        public().flat_map(|known| std::iter::once(known.name).chain(known.aliases.iter().copied()));
    let suggestion = nearest(name, names);
    let message = format!("no function `{name}`; docs/functions.md lists those that there are");
    Err(Refusal { kind: ParseErrorKind::UnknownFunction, message, suggestion })
}

/// The call of a function that is known by its own name.
///
/// # Errors
/// As [`resolve`].
pub fn call(signature: &'static Signature, arguments: Vec<Expr>) -> Result<Expr> {
    let refuse = |message| Refusal { kind: ParseErrorKind::Type, message, suggestion: None };
    let (overload, types) = choose(signature, &arguments).map_err(refuse)?;
    let named = |message| refuse(format!("`{}`: {message}", signature.name));
    // What stands for other expressions decides itself what its constants become.
    let is_rewritten = matches!(overload.run, Run::Rewrite(_) | Run::Prepared(..));
    let taken = arguments.into_iter().zip(&types).enumerate().map(|(index, (argument, to))| {
        let is_open = is_rewritten && overload.parameter(index) == Kind::Any;
        if is_open { Ok(argument) } else { coerce(argument, to) }
    });
    let taken = taken.collect::<Result<Vec<_>, _>>().map_err(named)?;
    (signature.check)(&taken).map_err(named)?;
    let data_type = overload.gives.data_type(&taken).map_err(named)?;
    if signature.volatility == Volatility::Job {
        return instant::constant(&data_type).map(Expr::Literal).map_err(refuse);
    }
    match overload.run {
        Run::Lazy(rewrite, _) if taken.iter().skip(1).any(Expr::is_fallible) => {
            rewrite(taken).map_err(named)
        }
        Run::Kernel(_) | Run::Lazy(..) => {
            Ok(Expr::Call { function: Function(signature.name), arguments: taken, data_type })
        }
        Run::Rewrite(rewrite) | Run::Prepared(rewrite, _) => rewrite(taken).map_err(named),
    }
}

/// The overload that takes the arguments, and the types they are cast to.
fn choose(
    signature: &'static Signature,
    arguments: &[Expr],
) -> Result<(&'static Overload, Vec<DataType>), String> {
    let name = signature.name;
    let count = arguments.len();
    let fitting: Vec<_> = signature
        .overloads
        .iter()
        .filter(|overload| (overload.least..=overload.most()).contains(&count))
        .collect();
    if fitting.is_empty() {
        return Err(format!("`{name}` takes {} arguments, not {count}", counts(signature)));
    }
    let found: Vec<_> = arguments.iter().map(Expr::data_type).collect();
    let exact = fitting.iter().find(|overload| overload.takes(&found) && !overload.is_same());
    if let Some(overload) = exact
        && !found.contains(&DataType::Null)
    {
        return Ok((overload, found));
    }
    let mut refused = Vec::new();
    for overload in &fitting {
        match types(overload, arguments, &found) {
            Ok(types) => return Ok((overload, types)),
            Err(refusal) => refused.push(refusal),
        }
    }
    if let [Refused { argument, wanted }] = &refused[..] {
        let found = type_name(&found[*argument]);
        return Err(format!("argument {} of `{name}` must be {wanted}, not {found}", argument + 1));
    }
    let found: Vec<_> = found.iter().map(type_name).collect();
    let takes: Vec<_> = fitting.iter().map(|overload| overload.shown(count)).collect();
    Err(format!("`{name}` takes {}, not ({})", takes.join(" or "), found.join(", ")))
}

/// Which argument is not taken, and what it should be.
struct Refused {
    argument: usize,
    wanted: String,
}

/// The types that `overload` casts the arguments to.
fn types(
    overload: &Overload,
    arguments: &[Expr],
    found: &[DataType],
) -> Result<Vec<DataType>, Refused> {
    let mut types = Vec::with_capacity(arguments.len());
    let of_kind = |kind: Kind| {
        let there = arguments.iter().enumerate();
        there.filter(move |(index, _)| overload.parameter(*index) == kind).map(|(_, expr)| expr)
    };
    let same = common(of_kind(Kind::Same).collect::<Vec<_>>());
    for (index, (argument, from)) in arguments.iter().zip(found).enumerate() {
        let kind = overload.parameter(index);
        let refused = |wanted: String| Refused { argument: index, wanted };
        let literal = match argument {
            Expr::Literal(Literal::Utf8(_)) => kind.of_literal(),
            _ => None,
        };
        let to = match (kind, &same) {
            (Kind::Same, Some(DataType::Null)) => Some(DataType::Utf8View),
            (Kind::Same, Some(same)) => Some(same.clone()),
            (Kind::Same, None) => {
                return Err(refused(String::from("of a type in which all of them meet")));
            }
            _ => literal.or_else(|| kind.cast_of(from)),
        };
        types.push(to.ok_or_else(|| refused(String::from(kind.name())))?);
    }
    for (index, argument) in arguments.iter().enumerate() {
        if overload.parameter(index) == Kind::Element {
            element(index, argument, &mut types)?;
        }
    }
    Ok(types)
}

/// Brings the element at `index` and the list before it to one type.
fn element(index: usize, argument: &Expr, types: &mut [DataType]) -> Result<(), Refused> {
    let list = types[..index].iter().rposition(|found| matches!(found, DataType::List(_)));
    let Some((place, DataType::List(item))) = list.map(|place| (place, types[place].clone()))
    else {
        return Ok(());
    };
    let item = item.data_type();
    let is_held =
        matches!(argument, Expr::Literal(literal) if cast::literal(literal, item).is_some());
    let met = if is_held { Some(item.clone()) } else { unified(item, &argument.data_type()) };
    let Some(met) = met else {
        return Err(Refused { argument: index, wanted: type_name(item) });
    };
    if met != *item {
        types[place] = list_of(met.clone());
    }
    types[index] = met;
    Ok(())
}

impl Overload {
    /// Whether arguments must be brought to one type.
    fn is_same(&self) -> bool {
        self.parameters.iter().any(|kind| matches!(kind, Kind::Same | Kind::Element))
    }

    /// Its parameters for so many arguments.
    fn shown(&self, count: usize) -> String {
        let kinds: Vec<_> = (0..count).map(|index| self.parameter(index).name()).collect();
        format!("({})", kinds.join(", "))
    }
}

/// How many arguments a function takes.
fn counts(signature: &Signature) -> String {
    let least = signature.overloads.iter().map(|overload| overload.least).min().unwrap_or(0);
    let most = signature.overloads.iter().map(Overload::most).max().unwrap_or(0);
    match (least, most) {
        (least, usize::MAX) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}
