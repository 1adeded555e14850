//! The areas whose events belong to tenants, as a GraphQL enum. It derives from the areas that their
//! audit logs show.

use std::borrow::Cow;

use async_graphql::{
    ContextSelectionSet, InputType, InputValueError, InputValueResult, Name, OutputType,
    Positioned, ServerResult, Value,
    parser::types::Field,
    registry::{Deprecation, MetaEnumValue, MetaType, MetaTypeId, Registry},
};
use events_schema::AreaName;

use crate::use_cases::audit::is_audited;

const NAME: &str = "AreaName";

/// An area whose events belong to tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TenantArea(pub(super) AreaName);

impl TenantArea {
    fn all() -> impl Iterator<Item = Self> {
        let areas = AreaName::ALL.iter().copied();
        areas.filter(|area| is_audited(*area)).map(Self)
    }

    fn name(self) -> String {
        self.0.as_str().to_ascii_uppercase()
    }

    fn parse_name(text: &str) -> Option<Self> {
        Self::all().find(|area| area.name() == text)
    }

    fn register(registry: &mut Registry) -> String {
        registry.create_input_type::<Self, _>(MetaTypeId::Enum, |_| MetaType::Enum {
            name: NAME.to_owned(),
            description: Some("An area whose events belong to a tenant.".to_owned()),
            enum_values: Self::all()
                .map(|area| (area.name(), area.value()))
                .collect(),
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            rust_typename: Some(std::any::type_name::<Self>()),
            directive_invocations: Vec::new(),
            requires_scopes: Vec::new(),
        })
    }

    fn value(self) -> MetaEnumValue {
        MetaEnumValue {
            name: self.name(),
            description: None,
            deprecation: Deprecation::NoDeprecated,
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            directive_invocations: Vec::new(),
        }
    }
}

impl InputType for TenantArea {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        NAME.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Self::register(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let value = value.unwrap_or_default();
        let parsed = if let Value::Enum(name) = &value {
            Self::parse_name(name)
        } else if let Value::String(text) = &value {
            Self::parse_name(text)
        } else {
            None
        };
        parsed.ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Value::Enum(Name::new(self.name()))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

impl OutputType for TenantArea {
    fn type_name() -> Cow<'static, str> {
        NAME.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Self::register(registry)
    }

    async fn resolve(
        &self,
        _: &ContextSelectionSet<'_>,
        _: &Positioned<Field>,
    ) -> ServerResult<Value> {
        Ok(self.to_value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_areas_that_audit_logs_show_have_a_name() {
        for area in AreaName::ALL.iter().copied().map(TenantArea) {
            let parsed = TenantArea::parse_name(&area.name());
            assert_eq!(parsed.is_some(), is_audited(area.0), "{area:?}");
        }
        assert_eq!(TenantArea(AreaName::AccessToken).name(), "ACCESS_TOKEN");
        assert_eq!(TenantArea::parse_name("project"), None);
    }
}
