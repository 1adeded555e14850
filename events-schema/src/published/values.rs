//! The values of public objects, as the API writes them.

use serde::{Serialize, Serializer, ser::Error as _};

use crate::{AccountId, Time};

/// A person. The API tells their name by the id.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Person {
    /// Id of the person's account.
    pub id: AccountId,
}

/// A point in time: RFC 3339 in UTC, with a precision of milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct DateTime(pub Time);

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_rfc3339().serialize(serializer)
    }
}

/// A value of an enum, in upper case as in the API.
#[derive(Clone, Copy, Debug)]
pub struct EnumName<T>(pub T);

impl<T: Serialize> Serialize for EnumName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = serde_json::to_value(&self.0).map_err(S::Error::custom)?;
        let name = stored.as_str().ok_or_else(|| S::Error::custom("no name"))?;
        serializer.serialize_str(&name.to_ascii_uppercase())
    }
}

#[cfg(test)]
mod schema {
    //! The JSON Schemas of the values.

    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde_json::Value;

    use super::{DateTime, EnumName};

    impl JsonSchema for DateTime {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "DateTime".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "format": "date-time" })
        }
    }

    impl<T: JsonSchema> JsonSchema for EnumName<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            T::schema_name()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let mut schema = T::json_schema(generator).to_value();
            in_upper_case(&mut schema);
            schema.try_into().unwrap()
        }
    }

    /// Writes the names that a schema allows in upper case.
    fn in_upper_case(schema: &mut Value) {
        let of = |value: &mut Value| {
            if let Value::String(name) = value {
                name.make_ascii_uppercase();
            }
        };
        if let Some(name) = schema.get_mut("const") {
            of(name);
        }
        let names = schema.get_mut("enum").and_then(Value::as_array_mut);
        names.into_iter().flatten().for_each(of);
        let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
        variants.into_iter().flatten().for_each(in_upper_case);
    }
}
