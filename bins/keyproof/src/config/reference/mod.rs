//! The table of all keys. A section's struct is written with `keys!`, which makes three things of each line: the field,
//! its default, and the key's entry in the table. `keyproof config reference`, docs/operate/configuration.md and the
//! man page are made from the table.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod completeness;
mod form;
mod page;
mod quantity;

pub(crate) use form::{Form, forms, name_of};
pub use page::{markdown, roff, text};
pub use quantity::{Quantity, WrongQuantity};

use toml::{Table, Value};

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The full name, such as `http.listen`; in each table of a list, `dps.issuers[].audience`.
    pub name: String,
    /// The kind of value, in words.
    pub form: String,
    /// The default, in words or as in a file.
    pub default: String,
    /// The meaning, in sentences.
    pub meaning: String,
    /// The older name, which takes a number and ends in its unit.
    pub older: Option<Older>,
}

/// The older name of a key that is a time or a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older {
    /// The full name, such as `http.header_timeout_ms`. Settings have their field under it.
    pub name: String,
    /// The unit of its number.
    pub quantity: Quantity,
}

impl Key {
    /// Creates the entry for `field` of the section `of`.
    pub(crate) fn new(
        (of, field): (&str, &str),
        form: String,
        default: Option<&Value>,
        shown: Option<&str>,
        meaning: &str,
    ) -> Self {
        let name = format!("{of}.{field}");
        let meaning = meaning.trim().to_owned();
        let own = |default: Option<&Value>| match (shown, default) {
            (Some(shown), _) => shown.to_owned(),
            (None, Some(default)) => default.to_string(),
            (None, None) => "none".to_owned(),
        };
        match Quantity::of(field) {
            None => Self {
                default: own(default),
                name,
                form,
                meaning,
                older: None,
            },
            Some((stem, quantity)) => {
                let number = default.and_then(Value::as_integer);
                let number = number.and_then(|number| u64::try_from(number).ok());
                let written = number.map(|number| Value::from(quantity.write(number)));
                Self {
                    default: own(written.as_ref()),
                    form: quantity.form().to_owned(),
                    meaning,
                    older: Some(Older { name, quantity }),
                    name: format!("{of}.{stem}"),
                }
            }
        }
    }

    /// Returns the key that settings have a field for: the older name if there is one.
    pub fn field(&self) -> &str {
        self.older.as_ref().map_or(&self.name, |older| &older.name)
    }

    /// Returns the environment variable; tables of a list have none.
    pub fn variable(&self) -> Option<String> {
        let is_listed = self.name.contains("[]");
        let name = || self.name.to_ascii_uppercase().replace('.', "__");
        (!is_listed).then(|| format!("KEYPROOF_{}", name()))
    }
}

/// Returns a section's defaults by field.
pub(crate) fn defaults<S: Default + serde::Serialize>() -> Table {
    Table::try_from(S::default()).unwrap_or_default()
}

/// Defines a section of the configuration. Each line is a field, its default, and the key's entry in the table, whose
/// meaning is the comment. `=> "words"` describes a default that a file cannot express.
macro_rules! keys {
    (
        $(#[doc = $about:literal])*
        #[derive($($derive:ident),* $(,)?)]
        $visible:vis struct $settings:ident {
            $(
                $(#[doc = $meaning:literal])+
                $(#[serde($($serde:tt)*)])*
                $key:ident: $type:ty = $default:expr $(=> $shown:literal)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive($($derive),*)]
        #[serde(default, deny_unknown_fields)]
        $visible struct $settings {
            $(
                $(#[doc = $meaning])+
                $(#[serde($($serde)*)])*
                pub $key: $type,
            )*
        }

        impl Default for $settings {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $settings {
            /// Returns an entry for each key; `of` is the table's name.
            #[allow(
                unused_imports,
                unused_mut,
                unused_variables,
                clippy::let_and_return,
                reason = "a section may have no keys"
            )]
            $visible fn keys(of: &str) -> Vec<$crate::config::reference::Key> {
                use $crate::config::reference::{self, Form, Key};
                let defaults = reference::defaults::<Self>();
                let mut keys = Vec::new();
                $(
                    let field = stringify!($key);
                    let shown: &[&str] = &[$($shown)?];
                    keys.push(Key::new(
                        (of, field),
                        <$type as Form>::form(),
                        defaults.get(field),
                        shown.first().copied(),
                        concat!($($meaning),+),
                    ));
                    keys.extend(<$type as Form>::keys(&format!("{of}.{field}")));
                )*
                keys
            }
        }
    };
}
pub(crate) use keys;
