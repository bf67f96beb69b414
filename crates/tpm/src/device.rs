//! The properties that a device states about itself before it is provisioned.

use core::fmt;

use thiserror::Error;

/// A device's own properties, each within its limits.
///
/// Lengths are counted in Unicode code points: 6 to 1,024 for the name, 1 to 1,024 for the others.
/// Control characters are rejected everywhere.
///
/// Vendor and serial together identify the device. They must not begin or end with white space, or
/// contain invisible characters: a reader of a certificate might ignore these and mistake one
/// device for another.
///
/// Comparison is exact. It distinguishes look-alike letters, letter case, and the number of inner
/// spaces. RFC 5280 section 7.1 compares names *in certificates* with case folded and inner spaces
/// collapsed, so software that identifies devices by certificates must compare the texts exactly.
///
/// ```
/// use keyproof_tpm::{DeviceField, DeviceInfo, DeviceInfoError, DeviceProperties};
///
/// let said = DeviceProperties { name: "device-0001", serial: "SN0001", vendor: "ExampleCorp", version: "1" };
/// let device = DeviceInfo::new(said)?;
/// assert_eq!(device.serial(), "SN0001");
///
/// let refused = DeviceProperties { name: "short", ..said };
/// assert_eq!(
///     DeviceInfo::new(refused),
///     Err(DeviceInfoError::Length { field: DeviceField::Name, found: 5, minimum: 6, maximum: 1024 })
/// );
/// # Ok::<(), DeviceInfoError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceInfo<'a>(DeviceProperties<'a>);

/// The properties as a device states them, not yet checked. A missing property is empty, the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceProperties<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its serial number.
    pub serial: &'a str,
    /// Its manufacturer.
    pub vendor: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// A property of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceField {
    /// Its name.
    Name,
    /// Its serial number.
    Serial,
    /// Its manufacturer.
    Vendor,
    /// Its version.
    Version,
}

/// The reason why a device's property was rejected.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceInfoError {
    /// Its length is outside its limits, in Unicode code points.
    #[error("the device's {field} has {found} characters, not {minimum} to {maximum}")]
    Length {
        /// The property.
        field: DeviceField,
        /// Its length; 0 if it is absent.
        found: usize,
        /// The minimum length.
        minimum: usize,
        /// The maximum length.
        maximum: usize,
    },
    /// It contains a character not allowed there.
    #[error("the device's {field} {what}")]
    Text {
        /// The property.
        field: DeviceField,
        /// A description of the violation.
        what: &'static str,
    },
}

const MAXIMUM: usize = 1024;

impl<'a> DeviceInfo<'a> {
    /// Checks the four properties, all of which are required.
    ///
    /// # Errors
    ///
    /// [`DeviceInfoError`] for the first property that is absent or outside its limits.
    pub fn new(properties: DeviceProperties<'a>) -> Result<Self, DeviceInfoError> {
        for (field, value) in [
            (DeviceField::Name, properties.name),
            (DeviceField::Serial, properties.serial),
            (DeviceField::Vendor, properties.vendor),
            (DeviceField::Version, properties.version),
        ] {
            check(field, value)?;
        }
        Ok(Self(properties))
    }

    /// Returns the device's name.
    pub fn name(&self) -> &'a str {
        self.0.name
    }

    /// Returns the device's serial number.
    pub fn serial(&self) -> &'a str {
        self.0.serial
    }

    /// Returns the device's manufacturer.
    pub fn vendor(&self) -> &'a str {
        self.0.vendor
    }

    /// Returns the device's version.
    pub fn version(&self) -> &'a str {
        self.0.version
    }
}

fn check(field: DeviceField, value: &str) -> Result<(), DeviceInfoError> {
    let minimum = match field {
        DeviceField::Name => 6,
        DeviceField::Serial | DeviceField::Vendor | DeviceField::Version => 1,
    };
    let found = value.chars().count();
    if !(minimum..=MAXIMUM).contains(&found) {
        return Err(DeviceInfoError::Length {
            field,
            found,
            minimum,
            maximum: MAXIMUM,
        });
    }
    let is_identity = matches!(field, DeviceField::Serial | DeviceField::Vendor);
    let what = if value.chars().any(char::is_control) {
        "has a control character"
    } else if is_identity && value.chars().any(is_hidden) {
        "has an invisible character"
    } else if is_identity && value.trim() != value {
        "begins or ends with a blank"
    } else {
        return Ok(());
    };
    Err(DeviceInfoError::Text { field, what })
}

/// Returns whether a character is invisible. These are Unicode's `Default_Ignorable_Code_Point`
/// (DerivedCoreProperties.txt), with the zero-width characters and bidirectional controls, and also
/// the line and paragraph separators and the annotation marks.
const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Writes the property's name as used in requests.
impl fmt::Display for DeviceField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Serial => "serial",
            Self::Vendor => "vendor",
            Self::Version => "version",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::{
        format,
        string::{String, ToString},
    };

    use super::*;

    const FIELDS: [DeviceField; 4] = [
        DeviceField::Name,
        DeviceField::Serial,
        DeviceField::Vendor,
        DeviceField::Version,
    ];

    const SOUND: DeviceProperties<'static> = DeviceProperties {
        name: "device",
        serial: "SN0001",
        vendor: "Maker",
        version: "1.0.00",
    };

    /// Creates a device of which one property is `text`.
    fn with(field: DeviceField, text: &str) -> Result<DeviceInfo<'_>, DeviceInfoError> {
        let mut properties = SOUND;
        let property = match field {
            DeviceField::Name => &mut properties.name,
            DeviceField::Serial => &mut properties.serial,
            DeviceField::Vendor => &mut properties.vendor,
            DeviceField::Version => &mut properties.version,
        };
        *property = text;
        DeviceInfo::new(properties)
    }

    #[test]
    fn a_device_says_what_it_was_made_from() {
        let device = DeviceInfo::new(SOUND).unwrap();
        let said = (
            device.name(),
            device.serial(),
            device.vendor(),
            device.version(),
        );
        assert_eq!(said, ("device", "SN0001", "Maker", "1.0.00"));
        for (field, name) in FIELDS
            .into_iter()
            .zip(["name", "serial", "vendor", "version"])
        {
            let refused = with(field, "").unwrap_err().to_string();
            assert!(
                refused.starts_with(&format!("the device's {name} has 0 characters")),
                "{refused}"
            );
        }
    }

    #[test]
    fn each_limit_holds_and_names_its_field() {
        let long = String::from("é").repeat(1024);
        let too_long = String::from("é").repeat(1025);
        for field in FIELDS {
            let minimum = if field == DeviceField::Name { 6 } else { 1 };
            let device = |text: &str| with(field, text).map(|_| ());
            let refused = |found| {
                Err(DeviceInfoError::Length {
                    field,
                    found,
                    minimum,
                    maximum: 1024,
                })
            };
            assert_eq!(device(&long), Ok(()));
            assert_eq!(device("abcdefghi".get(..minimum).unwrap()), Ok(()));
            assert_eq!(device(&too_long), refused(1025));
            assert_eq!(device(""), refused(0));
            assert_eq!(device(&"a".repeat(minimum - 1)), refused(minimum - 1));
        }
    }

    /// Serials and vendors that could be mistaken for another device's when truncated, trimmed or
    /// displayed are rejected.
    #[test]
    fn no_device_reads_as_another() {
        let refused = |field, what| Some(DeviceInfoError::Text { field, what });
        assert!(DeviceInfo::new(SOUND).is_ok());
        for (before, after) in [
            ("", "\0x"),
            ("", "\n"),
            ("\t", ""),
            ("", "\u{7f}"),
            ("", "\u{85}"),
        ] {
            let text = [before, "device", after].concat();
            for field in FIELDS {
                let expected = refused(field, "has a control character");
                assert_eq!(with(field, &text).err(), expected, "{text:?}");
            }
        }
        let blank = "begins or ends with a blank";
        let hidden = "has an invisible character";
        for (text, what) in [
            ("SN0001 ", blank),
            (" SN0001", blank),
            ("\u{a0}SN0001", blank),
            ("SN0001\u{3000}", blank),
            (" ", blank),
            ("SN0001\u{ad}", hidden),
            ("SN0001\u{200b}", hidden),
            ("SN\u{200f}0001", hidden),
            ("SN\u{2028}0001", hidden),
            ("SN\u{202e}1000", hidden),
            ("\u{2060}SN0001", hidden),
            ("SN0001\u{2064}", hidden),
            ("SN\u{2066}0001\u{2069}", hidden),
            ("\u{feff}SN0001", hidden),
            ("SN0001\u{fe0f}", hidden),
            ("SN0001\u{e0041}", hidden),
        ] {
            for field in [DeviceField::Serial, DeviceField::Vendor] {
                assert_eq!(with(field, text).err(), refused(field, what), "{text:?}");
            }
        }
        let within = DeviceProperties {
            name: " a device \u{200d}",
            serial: "SN  1\u{2010}\u{2027}\u{2030}",
            vendor: "The Maker\u{ae}",
            version: "1 ",
        };
        assert!(DeviceInfo::new(within).is_ok());
    }
}
