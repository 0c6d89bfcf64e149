//! The instant of a job: what `now()`, `current_date` and the like are, once for the whole job.
//!
//! A job must give the same rows however often a task of it runs, so they are constants of the
//! plan. Whoever checks a document says what time it is ([`within`]); on a cluster that is when
//! the job was submitted, when it is planned anew too.

use std::cell::Cell;

use arrow::datatypes::{DataType, TimeUnit};

use crate::expr::{Literal, TIMESTAMP, datetime::DAY_MICROS};

thread_local! {
    /// Microseconds since 1970-01-01 UTC, while a document is being checked on this thread.
    static NOW: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Runs `work`, which binds expressions on this thread, at an instant: microseconds since
/// 1970-01-01 UTC.
///
/// An argument would have to pass through all that binds an expression, in every operator.
pub fn within<T>(now_micros: i64, work: impl FnOnce() -> T) -> T {
    /// Puts back what was, on a panic too.
    struct Restore(Option<i64>);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOW.set(self.0);
        }
    }
    let _restore = Restore(NOW.replace(Some(now_micros)));
    work()
}

/// The instant as a literal of a type that a function of the time gives.
pub(super) fn constant(data_type: &DataType) -> Result<Literal, String> {
    let Some(now) = NOW.get() else {
        return Err(String::from("the time is known only where a job is checked"));
    };
    match data_type {
        DataType::Date32 => {
            let days = i32::try_from(now.div_euclid(DAY_MICROS));
            days.map(Literal::Date32).map_err(|_| String::from("the clock is out of range"))
        }
        data_type if *data_type == TIMESTAMP => Ok(Literal::timestamp(now)),
        DataType::Timestamp(unit @ TimeUnit::Microsecond, zone @ Some(_)) => {
            Ok(Literal::Timestamp { value: now, unit: *unit, zone: zone.clone() })
        }
        other => Err(format!("no instant is a {other}")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::{constant, within};
    use crate::expr::{Literal, TIMESTAMP};

    #[test]
    fn an_instant_holds_for_the_work_alone() {
        assert!(constant(&TIMESTAMP).is_err());
        within(-1, || {
            assert_eq!(constant(&TIMESTAMP), Ok(Literal::timestamp(-1)));
            assert_eq!(constant(&DataType::Date32), Ok(Literal::Date32(-1)));
            within(5, || assert_eq!(constant(&TIMESTAMP), Ok(Literal::timestamp(5))));
            assert_eq!(constant(&TIMESTAMP), Ok(Literal::timestamp(-1)));
        });
        assert!(constant(&TIMESTAMP).is_err());
    }
}
