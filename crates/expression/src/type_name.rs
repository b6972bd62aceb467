//! What types are called in messages and in answers.

use arrow::datatypes::DataType;

/// The SQL name of a type, whatever Arrow array holds its values: `BIGINT`, `DECIMAL(10,2)`, `TIMESTAMP`. A type that the
/// language lacks keeps its Arrow name, in backticks.
pub fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Null => "NULL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal128(precision, scale) => return format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "VARBINARY",
        DataType::Date32 => "DATE",
        DataType::Timestamp(_, _) => "TIMESTAMP",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Dictionary(_, values) => return type_name(values),
        DataType::List(item) | DataType::LargeList(item) => return format!("{}[]", type_name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let types: Vec<String> = fields.iter().map(|field| type_name(field.data_type())).collect();
                return format!("MAP({})", types.join(", "));
            }
            other => return format!("`{other}`"),
        },
        other => return format!("`{other}`"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn values_have_one_name_however_they_are_held() {
        let tokyo = DataType::Timestamp(TimeUnit::Second, Some("Asia/Tokyo".into()));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View));
        for (data_type, expected) in [
            (tokyo, "TIMESTAMP"),
            (dictionary, "VARCHAR"),
            (DataType::FixedSizeBinary(16), "VARBINARY"),
            (DataType::Time64(TimeUnit::Nanosecond), "TIME"),
            (DataType::new_list(DataType::Float64, true), "DOUBLE[]"),
            (DataType::UInt8, "`UInt8`"),
        ] {
            assert_eq!(type_name(&data_type), expected);
        }
    }
}
