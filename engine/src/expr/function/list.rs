//! Functions over lists and structs.
//!
//! Elements are equal and ordered as values are elsewhere: NaN equals NaN and is greatest, -0.0
//! equals 0.0; a null equals a null where elements are compared among themselves.

mod elements;
mod search;
mod combine;
mod fold;

pub(super) use search::{contains, length};

use super::{Gives, Kind, Nulls, Overload, Signature};

const LIST: &[Kind] = &[Kind::List];
const SEARCH: &[Kind] = &[Kind::List, Kind::Element];

/// The functions over lists and structs.
pub(super) static FUNCTIONS: &[Signature] = &[
    Signature::new(
        "list_value",
        &[Overload::new(
            &[Kind::Same],
            Gives::Of(combine::list_of_first, "list<T>"),
            combine::array,
        )
        .variadic(1)],
        "the arguments as a list; also `array[1, 2]`",
        &[("array[1, 2, null]", "[1, 2, null]"), ("list_value('a', 'b')", "[\"a\", \"b\"]")],
    )
    .aka(&["array", "list_pack", "make_array"])
    .with_nulls(Nulls::Never("nulls are elements")),
    Signature::new(
        "list_contains",
        &[Overload::new(SEARCH, Gives::Bool, contains)],
        "whether an element equals the value",
        &[
            ("list_contains(array[1, 2, null], 2)", "true"),
            ("list_contains(array[1, null], 3)", "false"),
        ],
    )
    .aka(&["array_contains", "list_has", "array_has"]),
    Signature::new(
        "list_position",
        &[Overload::new(SEARCH, Gives::Int64, search::position)],
        "the place of the first element that equals the value, from 1; null where there is none",
        &[("list_position(array['a', 'b'], 'b')", "2"), ("list_position(array[1], 5)", "null")],
    )
    .aka(&["array_position", "list_indexof", "array_indexof"])
    .differs("a null is not looked for"),
    Signature::new(
        "list_extract",
        &[Overload::new(&[Kind::List, Kind::Int64], Gives::Element(0), elements::element_at)],
        "the element of a place, from 1, or from the end where it is negative; null where there is \
         none; also `list[2]`",
        &[("list_extract(array[5, 6, 7], 2)", "6"), ("element_at(array[5, 6, 7], -1)", "7")],
    )
    .aka(&["element_at", "list_element", "array_extract"])
    .differs("its `element_at` is of maps"),
    Signature::new(
        "list_slice",
        &[Overload::new(
            &[Kind::List, Kind::Int64, Kind::Int64],
            Gives::Argument(0),
            elements::slice,
        )],
        "the elements of the places from the second to the third argument, from 1, or from the end \
         where negative",
        &[
            ("list_slice(array[1, 2, 3, 4], 2, 3)", "[2, 3]"),
            ("list_slice(array[1, 2, 3, 4], -2, -1)", "[3, 4]"),
        ],
    )
    .aka(&["array_slice"]),
    Signature::new(
        "list_reverse",
        &[Overload::new(LIST, Gives::Argument(0), elements::reverse)],
        "the elements in the other order",
        &[("list_reverse(array[1, 2, 3])", "[3, 2, 1]")],
    )
    .aka(&["array_reverse"]),
    Signature::new(
        "list_sort",
        &[
            Overload::new(LIST, Gives::Argument(0), elements::sort),
            Overload::new(&[Kind::List, Kind::Text], Gives::Argument(0), elements::sort),
            Overload::new(
                &[Kind::List, Kind::Text, Kind::Text],
                Gives::Argument(0),
                elements::sort,
            ),
        ],
        "`list_sort(list[, 'asc' or 'desc'[, 'nulls last' or 'nulls first']])`: the elements \
         sorted, nulls last unless said; the words are constants",
        &[
            ("list_sort(array[3, null, 1])", "[1, 3, null]"),
            ("list_sort(array['a', 'b'], 'desc')", "[\"b\", \"a\"]"),
        ],
    )
    .aka(&["array_sort"])
    .checked(elements::check_order),
    Signature::new(
        "list_distinct",
        &[Overload::new(LIST, Gives::Argument(0), elements::distinct)],
        "each element once, in the order of their first places; nulls are left out",
        &[("list_distinct(array[2, 1, 2, null])", "[2, 1]")],
    )
    .aka(&["array_distinct"])
    .differs("the order is defined"),
    Signature::new(
        "list_concat",
        &[Overload::new(&[Kind::Same], Gives::Argument(0), combine::concat).variadic(1)],
        "the elements of all lists, one list behind the other",
        &[("list_concat(array[1], array[2, 3])", "[1, 2, 3]")],
    )
    .aka(&["array_concat", "list_cat", "array_cat"])
    .with_nulls(Nulls::Lenient("null lists are left out"))
    .checked(combine::check_lists),
    Signature::new(
        "list_append",
        &[Overload::new(SEARCH, Gives::Argument(0), combine::append)],
        "the list with one element more at its end",
        &[("list_append(array[1], 2)", "[1, 2]")],
    )
    .aka(&["array_append", "array_push_back"])
    .with_nulls(Nulls::Lenient("null where the list is; a null value is an element")),
    Signature::new(
        "list_has_any",
        &[Overload::new(&[Kind::Same, Kind::Same], Gives::Bool, search::has_any)],
        "whether an element of one list is in the other; nulls are in none",
        &[("list_has_any(array[1, 2], array[2, 3])", "true")],
    )
    .aka(&["array_has_any", "arrays_overlap"])
    .checked(combine::check_lists),
    Signature::new(
        "list_has_all",
        &[Overload::new(&[Kind::Same, Kind::Same], Gives::Bool, search::has_all)],
        "whether all elements of the second list are in the first; nulls are not asked for",
        &[("list_has_all(array[1, 2], array[2, 3])", "false")],
    )
    .aka(&["array_has_all"])
    .checked(combine::check_lists),
    Signature::new(
        "flatten",
        &[Overload::new(LIST, Gives::Of(combine::inner_list, "list"), combine::flatten)],
        "the elements of the lists of a list; null lists are left out",
        &[("flatten(array[array[1], array[2, 3]])", "[1, 2, 3]")],
    ),
    Signature::new(
        "list_sum",
        &[Overload::new(&[Kind::NumberList], Gives::Of(fold::sum_type, "as sum"), fold::sum)],
        "the sum; null over no values",
        &[("list_sum(array[1, 2, null])", "3")],
    )
    .aka(&["array_sum"])
    .fails("where the type does not hold the result"),
    Signature::new(
        "list_avg",
        &[Overload::new(&[Kind::NumberList], Gives::Float64, fold::avg)],
        "the mean; null over no values",
        &[("list_avg(array[1, 2])", "1.5")],
    )
    .aka(&["array_avg"]),
    Signature::new(
        "list_min",
        &[Overload::new(LIST, Gives::Element(0), fold::min)],
        "the least element; nulls are left out",
        &[("list_min(array[3, 1, null])", "1")],
    )
    .aka(&["array_min"]),
    Signature::new(
        "list_max",
        &[Overload::new(LIST, Gives::Element(0), fold::max)],
        "the greatest element; nulls are left out",
        &[("list_max(array['a', 'b'])", "b")],
    )
    .aka(&["array_max"]),
    Signature::new(
        "list_count",
        &[Overload::new(LIST, Gives::Int64, fold::count)],
        "how many elements are not null",
        &[("list_count(array[1, null])", "1")],
    )
    .aka(&["array_count"]),
    Signature::new(
        "array_length",
        &[Overload::new(LIST, Gives::Int64, length)],
        "the number of elements; as `length`",
        &[("array_length(array[1, null, 3])", "3")],
    )
    .aka(&["cardinality", "array_size"])
    .differs("its `cardinality` is of maps"),
    Signature::new(
        "array_to_string",
        &[Overload::new(&[Kind::List, Kind::Text], Gives::Text, fold::join)],
        "the elements as text, with a separator between; nulls are left out",
        &[("array_to_string(array[1, 2, null, 3], '-')", "1-2-3")],
    )
    .aka(&["list_to_string", "array_join"]),
    Signature::new(
        "struct_extract",
        &[Overload::new(
            &[Kind::Struct, Kind::Text],
            Gives::Of(elements::field_type, "the field's type"),
            elements::field,
        )],
        "the field of a name, a constant; also `a.b`",
        &[("struct_extract(named_struct('a', 1, 'b', 'x'), 'b')", "x")],
    ),
    Signature::new(
        "named_struct",
        &[Overload::new(
            &[Kind::Text, Kind::Any],
            Gives::Of(combine::struct_type, "struct"),
            combine::named_struct,
        )
        .pairs()],
        "names, which are constants, and values by turns as a struct",
        &[("struct_extract(named_struct('a', 1), 'a')", "1")],
    )
    .with_nulls(Nulls::Never("nulls are fields"))
    .differs("has `struct_pack(a := 1)`; as in Spark"),
];
