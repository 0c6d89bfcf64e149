//! What several expressions have in common, so that it is computed once.

use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashMap;

use crate::expr::{Expr, Literal};

/// Which parts of some expressions are the same. It knows them by where they stand in memory, so
/// it serves the expressions that it was made of, as long as they are borrowed.
pub(super) struct Shared {
    slots: HashMap<usize, usize>,
    len: usize,
}

impl Shared {
    pub(super) fn of(exprs: &[&Expr]) -> Self {
        let mut found: HashMap<u64, Vec<&Expr>> = HashMap::new();
        for expr in exprs {
            fingerprint(expr, &mut found);
        }
        let mut shared = Self { slots: HashMap::new(), len: 0 };
        for mut alike in found.into_values() {
            // What only looks alike is told apart.
            while let Some(first) = alike.pop() {
                let (same, others): (Vec<_>, Vec<_>) =
                    alike.into_iter().partition(|other| *other == first);
                alike = others;
                if same.is_empty() {
                    continue;
                }
                for expr in same.into_iter().chain([first]) {
                    shared.slots.insert(address(expr), shared.len);
                }
                shared.len += 1;
            }
        }
        shared
    }

    /// The number of what this expression has in common with another.
    pub(super) fn slot(&self, expr: &Expr) -> Option<usize> {
        if self.slots.is_empty() { None } else { self.slots.get(&address(expr)).copied() }
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// Whether it costs something, and is the same each time.
fn is_worth_sharing(expr: &Expr) -> bool {
    match expr {
        Expr::Column { .. } | Expr::Literal(_) => false,
        Expr::Call { arguments, .. } => !arguments.is_empty(),
        _ => true,
    }
}

/// A hash of an expression's shape; equal ones have equal hashes. All parts go into `found`.
fn fingerprint<'e>(expr: &'e Expr, found: &mut HashMap<u64, Vec<&'e Expr>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(expr).hash(&mut hasher);
    match expr {
        Expr::Column { index, .. } | Expr::Field { index, .. } => index.hash(&mut hasher),
        Expr::Literal(literal) => match literal {
            Literal::Int64(value) => value.hash(&mut hasher),
            Literal::Utf8(text) => text.hash(&mut hasher),
            other => std::mem::discriminant(other).hash(&mut hasher),
        },
        Expr::Binary { op, .. } => std::mem::discriminant(op).hash(&mut hasher),
        Expr::Call { function, .. } => function.name().hash(&mut hasher),
        Expr::Cast { to, .. } => to.hash(&mut hasher),
        Expr::InList { input, list, .. } => {
            // Its constants are too many to be looked at for each batch.
            list.len().hash(&mut hasher);
            fingerprint(input, found).hash(&mut hasher);
            let parts = list.iter().filter(|item| !matches!(item, Expr::Literal(_)));
            parts.for_each(|item| fingerprint(item, found).hash(&mut hasher));
            return kept(expr, hasher.finish(), found);
        }
        _ => {}
    }
    for child in expr.children() {
        fingerprint(child, found).hash(&mut hasher);
    }
    kept(expr, hasher.finish(), found)
}

fn kept<'e>(expr: &'e Expr, hash: u64, found: &mut HashMap<u64, Vec<&'e Expr>>) -> u64 {
    if is_worth_sharing(expr) {
        found.entry(hash).or_default().push(expr);
    }
    hash
}
