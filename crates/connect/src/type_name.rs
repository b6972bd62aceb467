//! Arrow types in the words of the language, for messages.

use arrow::datatypes::DataType;

/// The SQL name of a type: `BIGINT`, `DECIMAL(10,2)`, `TIMESTAMP`; types that the language lacks keep their Arrow name.
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

/// Whether a column of a stream or of a REQUEST may have this type.
pub(crate) fn is_language_type(data_type: &DataType) -> bool {
    use arrow::datatypes::TimeUnit::Microsecond;
    match data_type {
        DataType::Decimal128(precision, scale) => {
            (1..=38).contains(precision) && *scale >= 0 && *scale as u8 <= *precision
        }
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(Microsecond, None) => true,
        _ => false,
    }
}
