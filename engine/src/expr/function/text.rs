//! Functions over text: case, parts, joining, measuring.
//!
//! What stays as it is keeps its view, a part is a narrower view, only changed text is copied.
//! Characters are Unicode scalar values.

mod case;
mod cut;
mod build;
mod measure;
mod split;

pub(super) use build::join;
pub(super) use cut::narrow;

use super::{Gives, Kind, Nulls, Overload, Signature, list};

/// Text, and text to look for in it.
const TWO: &[Kind] = &[Kind::Text, Kind::Text];

/// The functions over text.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "lower",
        &[Overload::new(&[Kind::Text], Gives::Text, case::lower)],
        "lower case, by Unicode's full mapping",
        &[("lower('ÁRBOL Ñandú')", "árbol ñandú")],
    )
    .aka(&["to_lower", "lcase"])
    .differs("a sigma at the end of a word becomes ς"),
    Signature::new(
        "upper",
        &[Overload::new(&[Kind::Text], Gives::Text, case::upper)],
        "upper case, by Unicode's full mapping",
        &[("upper('añejo')", "AÑEJO")],
    )
    .aka(&["to_upper", "ucase"]),
    Signature::new(
        "initcap",
        &[Overload::new(&[Kind::Text], Gives::Text, case::initcap)],
        "the first letter of each word (of letters and digits) in upper case, the others in lower",
        &[("initcap('hELLO wORLD-foo')", "Hello World-Foo")],
    )
    .differs("has none; as in PostgreSQL"),
    Signature::new(
        "trim",
        &[Overload::new(TWO, Gives::Text, cut::trim).at_least(1)],
        "without blanks (U+0020), or without any of the given characters, at both ends; also \
         `trim(both 'x' from s)`",
        &[("trim('  a b ')", "a b"), ("trim('xyaxy', 'yx')", "a")],
    )
    .aka(&["btrim"]),
    Signature::new(
        "ltrim",
        &[Overload::new(TWO, Gives::Text, cut::ltrim).at_least(1)],
        "as trim, at the beginning alone; also `trim(leading 'x' from s)`",
        &[("ltrim('xxaxx', 'x')", "axx")],
    )
    .aka(&["trim_start"]),
    Signature::new(
        "rtrim",
        &[Overload::new(TWO, Gives::Text, cut::rtrim).at_least(1)],
        "as trim, at the end alone; also `trim(trailing 'x' from s)`",
        &[("rtrim('xxaxx', 'x')", "xxa")],
    )
    .aka(&["trim_end"]),
    Signature::new(
        "substr",
        &[Overload::new(&[Kind::Text, Kind::Int64, Kind::Int64], Gives::Text, cut::substr)
            .at_least(2)],
        "`substr(s, from[, n])`: n characters (default: all) from the from-th on, counted from 1; \
         places before the first count but hold nothing; also `substring(s from 2 for 3)`",
        &[("substr('abcdef', 2, 3)", "bcd"), ("substr('abc', 0, 2)", "a")],
    )
    .aka(&["substring", "mid"])
    .fails("where n is negative")
    .differs("a negative `from` is no place from the end, as in PostgreSQL; say `right(s, n)`"),
    Signature::new(
        "left",
        &[Overload::new(&[Kind::Text, Kind::Int64], Gives::Text, cut::left)],
        "the first n characters; all but the last -n where n is negative",
        &[("left('añbc', 2)", "añ"), ("left('añbc', -1)", "añb")],
    ),
    Signature::new(
        "right",
        &[Overload::new(&[Kind::Text, Kind::Int64], Gives::Text, cut::right)],
        "the last n characters; all but the first -n where n is negative",
        &[("right('abcd', 2)", "cd"), ("right('abcd', -1)", "bcd"), ("right('abcd', 0)", "")],
    ),
    Signature::new(
        "split_part",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Int64], Gives::Text, cut::split_part)],
        "`split_part(s, separator, n)`: the n-th part, from 1, or from the end where n is \
         negative; the empty text where there is none",
        &[("split_part('a,b,c', ',', 2)", "b"), ("split_part('a,b,c', ',', -1)", "c")],
    ),
    Signature::new(
        "string_split",
        &[Overload::new(TWO, Gives::TextList, split::string_split)],
        "the parts between separators; the characters where the separator is empty",
        &[("string_split('a,b,,c', ',')", "[\"a\", \"b\", \"\", \"c\"]")],
    )
    .aka(&["split", "str_split", "string_to_array"])
    .differs("a null separator gives null, not the whole text"),
    Signature::new(
        "concat",
        &[Overload::new(&[Kind::Any], Gives::Text, build::concat).variadic(1)],
        "the texts of all arguments, one behind the other",
        &[("concat('a', 1, null, true)", "a1true")],
    )
    .with_nulls(Nulls::Never("nulls are left out")),
    Signature::new(
        "concat_ws",
        &[Overload::new(&[Kind::Text, Kind::Any], Gives::Text, build::concat_ws).variadic(2)],
        "`concat_ws(separator, …)`: the texts of the others, with the separator between",
        &[("concat_ws(',', 'a', null, 2)", "a,2")],
    )
    .with_nulls(Nulls::Lenient("a null separator gives null; other nulls are left out")),
    Signature::new(
        "replace",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text], Gives::Text, build::replace)],
        "`replace(s, old, new)`: every old by new; an empty old replaces nothing",
        &[("replace('banana', 'an', 'X')", "bXXa")],
    )
    .fails("where the text would be longer than 16 MiB"),
    Signature::new(
        "translate",
        &[Overload::new(&[Kind::Text, Kind::Text, Kind::Text], Gives::Text, build::translate)],
        "`translate(s, from, to)`: each character of from by the one at its place in to; those \
         without one go",
        &[("translate('abcabc', 'ab', 'x')", "xcxc")],
    ),
    Signature::new(
        "overlay",
        &[Overload::new(
            &[Kind::Text, Kind::Text, Kind::Int64, Kind::Int64],
            Gives::Text,
            build::overlay,
        )
        .at_least(3)],
        "`overlay(s placing new from n for m)`, `overlay(s, new, n[, m])`: new in the place of m \
         characters (default: as many as new has) from the n-th on",
        &[
            ("overlay('abcdef' placing 'XY' from 3 for 2)", "abXYef"),
            ("overlay('abc', 'X', 2)", "aXc"),
        ],
    )
    .fails("where n is less than 1"),
    Signature::new(
        "lpad",
        &[Overload::new(&[Kind::Text, Kind::Int64, Kind::Text], Gives::Text, build::lpad)
            .at_least(2)],
        "`lpad(s, n[, fill])`: filled up at the beginning to n characters (with blanks), or cut at \
         the end",
        &[("lpad('abc', 5, 'xy')", "xyabc"), ("lpad('abc', 2, 'xy')", "ab")],
    )
    .fails("where the fill is empty and needed, or the text would be longer than 16 MiB"),
    Signature::new(
        "rpad",
        &[Overload::new(&[Kind::Text, Kind::Int64, Kind::Text], Gives::Text, build::rpad)
            .at_least(2)],
        "as lpad, filled up at the end",
        &[("rpad('abc', 7, 'xy')", "abcxyxy")],
    )
    .fails("where the fill is empty and needed, or the text would be longer than 16 MiB"),
    Signature::new(
        "repeat",
        &[Overload::new(&[Kind::Text, Kind::Int64], Gives::Text, build::repeat)],
        "the text n times; none where n is negative",
        &[("repeat('ab', 3)", "ababab")],
    )
    .fails("where the text would be longer than 16 MiB"),
    Signature::new(
        "reverse",
        &[Overload::new(&[Kind::Text], Gives::Text, build::reverse)],
        "the characters in the other order",
        &[("reverse('añb')", "bña")],
    ),
    Signature::new(
        "chr",
        &[Overload::new(&[Kind::Int64], Gives::Text, build::chr)],
        "the character of a number (Unicode)",
        &[("chr(241)", "ñ")],
    )
    .aka(&["char"])
    .fails("where no character has the number"),
    Signature::new(
        "ascii",
        &[Overload::new(&[Kind::Text], Gives::Int64, measure::ascii)],
        "the number of the first character (Unicode); 0 of the empty text",
        &[("ascii('ñ')", "241")],
    )
    .aka(&["ord", "unicode"])
    .differs("`unicode('')` and `ord('')` are 0, not -1"),
    Signature::new(
        "length",
        &[
            Overload::new(&[Kind::Text], Gives::Int64, measure::length),
            Overload::new(&[Kind::List], Gives::Int64, list::length),
        ],
        "the number of characters, or of elements",
        &[("length('añ')", "2"), ("len(array[1, null, 3])", "3")],
    )
    .aka(&["char_length", "character_length", "len"]),
    Signature::new(
        "octet_length",
        &[
            Overload::new(&[Kind::Text], Gives::Int64, measure::octet_length),
            Overload::new(&[Kind::Binary], Gives::Int64, measure::octet_length),
        ],
        "the number of bytes (of text: in UTF-8)",
        &[("octet_length('añ')", "3")],
    )
    .aka(&["strlen"]),
    Signature::new(
        "bit_length",
        &[
            Overload::new(&[Kind::Text], Gives::Int64, measure::bit_length),
            Overload::new(&[Kind::Binary], Gives::Int64, measure::bit_length),
        ],
        "the number of bits (of text: in UTF-8)",
        &[("bit_length('añ')", "24")],
    ),
    Signature::new(
        "strpos",
        &[Overload::new(TWO, Gives::Int64, measure::strpos)],
        "`strpos(s, part)`: the character at which part begins, from 1; 0 where it is not there; \
         also `position(part in s)`",
        &[("strpos('añejo', 'e')", "3"), ("position('x' in 'abc')", "0")],
    )
    .aka(&["instr"]),
    Signature::new(
        "starts_with",
        &[Overload::new(TWO, Gives::Bool, measure::starts_with)],
        "whether the text begins with the other",
        &[("starts_with('abc', 'ab')", "true")],
    )
    .aka(&["startswith", "prefix"]),
    Signature::new(
        "ends_with",
        &[Overload::new(TWO, Gives::Bool, measure::ends_with)],
        "whether the text ends with the other",
        &[("ends_with('abc', 'bc')", "true")],
    )
    .aka(&["endswith", "suffix"]),
    Signature::new(
        "contains",
        &[
            Overload::new(TWO, Gives::Bool, measure::contains),
            Overload::new(&[Kind::List, Kind::Element], Gives::Bool, list::contains),
        ],
        "whether the text holds the other, or the list the element",
        &[("contains('abc', 'b')", "true"), ("contains(array[1, 2], 3)", "false")],
    ),
    Signature::new(
        "levenshtein",
        &[Overload::new(TWO, Gives::Int64, measure::levenshtein)],
        "the fewest characters to insert, drop or change to get from one to the other",
        &[("levenshtein('kitten', 'sitting')", "3")],
    )
    .aka(&["editdist3"])
    .fails("for a text of more than 10000 characters")
    .differs("characters are counted, not bytes"),
];
