//! The forms in which a text is a value here, as regular expressions that all engines read alike:
//! others take more of them (blanks, `1995`, `t`), and a `try_cast` must give the same nulls.

use arrow::datatypes::DataType;

use crate::expr::TIMESTAMP;

const WHOLE: &str = "^[+-]?[0-9]+$";
const NUMBER: &str = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$";
const FLOAT: &str = "^[+-]?(([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))$";
const TRUTH: &str = "^(?i:true|false)$";
const DATE: &str = "^([0-9]{4}|[+-][0-9]{4,6})-[0-9]{2}-[0-9]{2}$";
const MOMENT: &str = "^([0-9]{4}|[+-][0-9]{4,6})-[0-9]{2}-[0-9]{2}\
     ([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?)?$";

/// The form of a type's values; `None` where no expression says it.
pub(super) fn of(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Boolean => TRUTH,
        whole if whole.is_integer() => WHOLE,
        float if float.is_floating() => FLOAT,
        DataType::Decimal128(..) => NUMBER,
        DataType::Date32 => DATE,
        moment if *moment == TIMESTAMP => MOMENT,
        _ => return None,
    })
}
