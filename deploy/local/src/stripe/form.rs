//! Parameters as Stripe's clients send them: a form with brackets, such as
//! `items[0][price]=price_1`.

use std::collections::BTreeMap;

use super::refusal::Refusal;

/// Maximum length of a text, in characters. Stripe has one limit per parameter.
const TEXT_CHARS: usize = 5_000;
/// Maximum keys of metadata.
const METADATA_KEYS: usize = 50;
/// Maximum length of a key of metadata, in characters.
const METADATA_KEY_CHARS: usize = 40;
/// Maximum length of a value of metadata, in characters.
const METADATA_VALUE_CHARS: usize = 500;

/// Keys and values that describe an object. An empty value deletes the key.
pub(super) type Metadata = BTreeMap<String, String>;

/// The parameters that were not read yet. A handler reads those that it knows, and
/// [`end`](Self::end) refuses the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    /// The name of the parameter that holds these; empty for the whole request.
    prefix: String,
    /// By name below the prefix: `price`, or `recurring[interval]`.
    fields: BTreeMap<String, String>,
}

impl Form {
    /// Reads the parameters of the query and of the body.
    ///
    /// # Errors
    /// If a parameter occurs twice.
    pub(super) fn parse(query: &str, body: &[u8]) -> Result<Self, Refusal> {
        let mut form = Self::default();
        let pairs =
            url::form_urlencoded::parse(query.as_bytes()).chain(url::form_urlencoded::parse(body));
        for (name, value) in pairs {
            let name = form.numbered(&name);
            if form.fields.contains_key(&name) {
                let message = format!("The parameter {name} occurs twice.");
                return Err(Refusal::invalid(message).param(&name));
            }
            form.fields.insert(name, value.into_owned());
        }
        Ok(form)
    }

    /// Writes `expand[]` as `expand[0]`, `expand[1]` and so on.
    fn numbered(&self, name: &str) -> String {
        let Some(list) = name.strip_suffix("[]") else {
            return name.to_owned();
        };
        let prefix = format!("{list}[");
        let count = self
            .fields
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .count();
        format!("{list}[{count}]")
    }

    /// Returns the full name of a parameter.
    pub(super) fn name(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            match name.split_once('[') {
                None => format!("{}[{name}]", self.prefix),
                Some((first, rest)) => format!("{}[{first}][{rest}", self.prefix),
            }
        }
    }

    /// Returns the names of the parameters that were not read yet, without what is in brackets.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(|name| first_part(name))
    }

    /// Returns a text that is not empty.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.change(name)? {
            Some(None) => {
                let param = self.name(name);
                let message = format!("You passed an empty string for '{param}'.");
                Err(Refusal::invalid(message)
                    .code("parameter_invalid_empty")
                    .param(&param))
            }
            Some(text) => Ok(text),
            None => Ok(None),
        }
    }

    /// Returns a text; `Some(None)` if it is empty, which deletes the old one.
    ///
    /// # Errors
    /// If it is too long.
    pub(super) fn change(&mut self, name: &str) -> Result<Option<Option<String>>, Refusal> {
        let Some(text) = self.fields.remove(name) else {
            return Ok(None);
        };
        if text.chars().count() > TEXT_CHARS {
            let param = self.name(name);
            return Err(Refusal::invalid(format!("{param} is too long.")).param(&param));
        }
        Ok(Some(Some(text).filter(|text| !text.is_empty())))
    }

    /// Changes a text if the parameter is there.
    ///
    /// # Errors
    /// If it is too long.
    pub(super) fn set(&mut self, name: &str, field: &mut Option<String>) -> Result<(), Refusal> {
        if let Some(text) = self.change(name)? {
            *field = text;
        }
        Ok(())
    }

    /// Returns a text that has to be there.
    ///
    /// # Errors
    /// If it is missing, empty or too long.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        let text = self.text(name)?;
        text.ok_or_else(|| Refusal::required(&self.name(name)))
    }

    /// Returns an integer.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Refusal::invalid(format!("Invalid integer: {text}"))
                .code("parameter_invalid_integer")
                .param(&self.name(name))),
        }
    }

    /// Returns an integer within a range.
    ///
    /// # Errors
    /// If it is none, or outside.
    pub(super) fn integer_in(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, Refusal> {
        let number = self.integer(name)?;
        match number {
            Some(number) if !range.contains(&number) => {
                let (param, from, to) = (self.name(name), range.start(), range.end());
                let message = format!("{param} must be {from} to {to}.");
                Err(Refusal::invalid(message).param(&param))
            }
            Some(_) | None => Ok(number),
        }
    }

    /// Returns a truth value.
    ///
    /// # Errors
    /// If it is neither `true` nor `false`.
    pub(super) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        let text = self.choice(name, &["true", "false"])?;
        Ok(text.map(|text| text == "true"))
    }

    /// Returns one of these texts.
    ///
    /// # Errors
    /// If it is another.
    pub(super) fn choice(
        &mut self,
        name: &str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|choice| **choice == text) {
            Some(choice) => Ok(Some(choice)),
            None => {
                let (param, choices) = (self.name(name), choices.join(", "));
                let message = format!("Invalid {param}: must be one of {choices}");
                Err(Refusal::invalid(message).param(&param))
            }
        }
    }

    /// Takes the parameters in brackets below this one. It needs an [`end`](Self::end) of its own.
    pub(super) fn nested(&mut self, name: &str) -> Self {
        let start = format!("{name}[");
        let mut nested = Self {
            prefix: self.name(name),
            fields: BTreeMap::new(),
        };
        let fields = std::mem::take(&mut self.fields);
        for (key, value) in fields {
            match key
                .strip_prefix(&start)
                .and_then(|rest| rest.split_once(']'))
            {
                Some((first, rest)) => nested.fields.insert(format!("{first}{rest}"), value),
                None => self.fields.insert(key, value),
            };
        }
        nested
    }

    /// Returns the forms of a list, such as `items[0][price]` and `items[1][price]`.
    pub(super) fn forms(&mut self, name: &str) -> Vec<Self> {
        let mut list = self.nested(name);
        let numbers: Vec<String> = list.names().map(str::to_owned).collect();
        let mut forms = Vec::new();
        for number in numbers {
            let form = list.nested(&number);
            if !form.is_empty() {
                forms.push(form);
            }
        }
        // What is not in a form is left for `end` to refuse.
        for (key, value) in list.fields {
            self.fields.insert(format!("{name}[{key}]"), value);
        }
        forms
    }

    /// Returns the texts of a list, such as `expand[0]` and `expand[1]`.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        self.nested(name).fields.into_values().collect()
    }

    /// Changes metadata as the parameters say.
    ///
    /// # Errors
    /// If there are too many keys, or one is too long.
    pub(super) fn metadata(&mut self, metadata: &mut Metadata) -> Result<(), Refusal> {
        if self.change("metadata")?.is_some() {
            metadata.clear();
        }
        for (key, value) in self.nested("metadata").fields {
            let is_too_long = key.chars().count() > METADATA_KEY_CHARS
                || value.chars().count() > METADATA_VALUE_CHARS;
            if is_too_long {
                let message = format!("The key or value of {key} is too long.");
                return Err(Refusal::invalid(message).param(&format!("metadata[{key}]")));
            }
            if value.is_empty() {
                metadata.remove(&key);
            } else {
                metadata.insert(key, value);
            }
        }
        if metadata.len() > METADATA_KEYS {
            return Err(Refusal::invalid("Too many keys of metadata.").param("metadata"));
        }
        Ok(())
    }

    /// Returns all parameters as one text, which is the same in whatever order they came.
    pub(super) fn canonical(&self) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&self.fields).finish()
    }

    /// Whether there is no parameter.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If there is a parameter that was not read.
    pub(super) fn end(self) -> Result<(), Refusal> {
        match self.fields.keys().next() {
            Some(name) => Err(Refusal::unknown(&self.name(name))),
            None => Ok(()),
        }
    }
}

fn first_part(name: &str) -> &str {
    name.split_once('[').map_or(name, |(first, _)| first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse("", text.as_bytes()).unwrap()
    }

    #[test]
    fn a_list_of_forms_is_read_in_order() {
        let mut form = form("items[0][price]=a&items[1][price]=b&items[1][recurring][x]=1");
        let prices = form.forms("items").into_iter().map(|mut item| {
            let price = item.required("price").unwrap();
            (price, item.end().map_err(|refusal| refusal.body()))
        });
        let prices: Vec<_> = prices.collect();
        assert_eq!(prices[0], ("a".to_owned(), Ok(())));
        let (price, refusal) = &prices[1];
        assert_eq!(price, "b");
        let refusal = refusal.as_ref().unwrap_err();
        assert_eq!(refusal["error"]["param"], "items[1][recurring][x]");
        assert_eq!(refusal["error"]["code"], "parameter_unknown");
        form.end().unwrap();
    }

    #[test]
    fn lists_may_have_empty_brackets() {
        let mut form = form("expand[]=customer&expand[]=items.data&expand%5B%5D=x");
        assert_eq!(form.texts("expand"), ["customer", "items.data", "x"]);
    }

    #[test]
    fn a_parameter_that_nobody_read_is_refused() {
        let refusal = form("name=Ada&nmae=Ada").end().unwrap_err().body();
        assert_eq!(refusal["error"]["type"], "invalid_request_error");
        assert_eq!(refusal["error"]["param"], "name");
        assert!(form("items=x").forms("items").is_empty());
        assert!(form("items[0]=x").end().is_err());
    }

    #[test]
    fn a_parameter_that_occurs_twice_is_refused() {
        assert!(Form::parse("a=1", b"a=2").is_err());
    }

    #[test]
    fn an_empty_value_deletes_a_key_of_metadata() {
        let mut metadata = Metadata::from([("a".to_owned(), "1".to_owned())]);
        let mut form = form("metadata[a]=&metadata[b]=2");
        form.metadata(&mut metadata).unwrap();
        assert_eq!(metadata, Metadata::from([("b".to_owned(), "2".to_owned())]));
    }

    #[test]
    fn numbers_are_exact() {
        let mut form = form("amount=9007199254740991&other=1.5");
        assert_eq!(form.integer("amount").unwrap(), Some(9_007_199_254_740_991));
        assert!(form.integer("other").is_err());
    }
}
