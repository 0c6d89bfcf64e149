//! `top_k`: a sort of which only the first rows are taken keeps only those.
//!
//! A limit looks through maps, which neither drop nor move rows, down to a sort that nobody else
//! reads. It stays, since it has an offset or a name.

use super::Nodes;
use crate::plan::Op;

/// Applies the rule.
pub(super) fn apply(nodes: &mut Nodes) -> Vec<String> {
    let consumers = nodes.consumers();
    // Nodes that a rule has added count as read by one.
    let is_shared = |at: usize| consumers.get(at).is_some_and(|count| *count > 1);
    let mut done = Vec::new();
    for at in 0..nodes.0.len() {
        let Op::Limit { offset, n } = nodes.0[at].op else { continue };
        let first_rows = offset.saturating_add(n);
        let mut below = nodes.0[at].inputs[0].index();
        while let Op::Map { .. } = nodes.0[below].op
            && !is_shared(below)
        {
            below = nodes.0[below].inputs[0].index();
        }
        if is_shared(below) {
            continue;
        }
        let (id, of) = (nodes.0[at].id.clone(), nodes.0[below].id.clone());
        let Op::Sort { limit, .. } = &mut nodes.0[below].op else { continue };
        if limit.is_none_or(|limit| limit > first_rows) {
            *limit = Some(first_rows);
            done.push(format!("`{of}` keeps its first {first_rows} rows, which `{id}` takes"));
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::super::tests::before_and_after;
    use super::apply;

    #[test]
    fn a_limit_behind_a_sort_bounds_it_with_its_offset() {
        let (before, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "s", "op": "sort", "by": ["v desc"]},
                {"id": "m", "op": "map", "with": {"x": "v + 1"}},
                {"id": "l", "op": "limit", "n": 5, "offset": 2}],
              "edges": [["a", "s"], ["s", "m"], ["m", "l"]]}"#,
        );
        assert_eq!(
            before,
            [
                "s <- a: sort v desc -> k, v, w",
                "m <- s: map k, v, w, x = (v + 1) -> k, v, w, x",
                "l <- m: limit 5 behind the first 2 -> k, v, w, x",
            ]
        );
        assert_eq!(
            after,
            [
                "s <- a: sort the first 7 by v desc -> k, v, w",
                "m <- s: map k, v, w, x = (v + 1) -> k, v, w, x",
                "l <- m: limit 5 behind the first 2 -> k, v, w, x",
            ]
        );
    }

    #[test]
    fn a_sort_that_others_read_or_whose_rows_are_filtered_keeps_all() {
        let (before, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "s", "op": "sort", "by": ["v"]},
                {"id": "l", "op": "limit", "n": 5},
                {"id": "m", "op": "map", "fn": "identity"},
                {"id": "t", "op": "sort", "by": ["w"]},
                {"id": "f", "op": "filter", "where": "k > 1"},
                {"id": "n", "op": "limit", "n": 5}],
              "edges": [["a", "s"], ["s", "l"], ["s", "m"], ["m", "t"], ["t", "f"], ["f", "n"]]}"#,
        );
        assert_eq!(before, after);
    }

    #[test]
    fn the_smaller_of_two_limits_counts() {
        let (_, after) = before_and_after(
            apply,
            r#"{"nodes": [
                {"id": "a", "op": "read_csv", "path": "a.csv", "header": true},
                {"id": "s", "op": "sort", "by": ["v"]},
                {"id": "l", "op": "limit", "n": 3},
                {"id": "m", "op": "limit", "n": 9}],
              "edges": [["a", "s"], ["s", "l"], ["l", "m"]]}"#,
        );
        assert_eq!(after[0], "s <- a: sort the first 3 by v -> k, v, w");
    }
}
