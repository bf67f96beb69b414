//! What a device says of itself before it is provisioned.

use core::fmt;

use crate::TpmError;

/// A device's own properties, each within its published limits.
///
/// Lengths count Unicode code points: a name has 6 to 1,024, the others 1 to 1,024.
///
/// ```
/// use keyproof_tpm::{DeviceField, DeviceInfo, DeviceProperties, TpmError};
///
/// let said = DeviceProperties { name: "device-0001", serial: "SN0001", vendor: "ExampleCorp", version: "1" };
/// let device = DeviceInfo::new(said)?;
/// assert_eq!(device.serial(), "SN0001");
///
/// let refused = DeviceProperties { name: "short", ..said };
/// assert_eq!(
///     DeviceInfo::new(refused),
///     Err(TpmError::DeviceInfo { field: DeviceField::Name, found: 5, minimum: 6, maximum: 1024 })
/// );
/// # Ok::<(), TpmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceInfo<'a>(DeviceProperties<'a>);

/// The same properties as a device says them, within limits or not; one that it leaves out is empty, as all are by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceProperties<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its serial number.
    pub serial: &'a str,
    /// Who made it.
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
    /// Who made it.
    Vendor,
    /// Its version.
    Version,
}

const MAXIMUM: usize = 1024;

impl<'a> DeviceInfo<'a> {
    /// Takes the four properties, all of which are required.
    ///
    /// # Errors
    ///
    /// [`TpmError::DeviceInfo`] names the first that is absent or outside its limits.
    pub fn new(properties: DeviceProperties<'a>) -> Result<Self, TpmError> {
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

    /// The device's name.
    pub fn name(&self) -> &'a str {
        self.0.name
    }

    /// The device's serial number.
    pub fn serial(&self) -> &'a str {
        self.0.serial
    }

    /// Who made the device.
    pub fn vendor(&self) -> &'a str {
        self.0.vendor
    }

    /// The device's version.
    pub fn version(&self) -> &'a str {
        self.0.version
    }
}

fn check(field: DeviceField, value: &str) -> Result<(), TpmError> {
    let minimum = match field {
        DeviceField::Name => 6,
        DeviceField::Serial | DeviceField::Vendor | DeviceField::Version => 1,
    };
    let found = value.chars().count();
    if (minimum..=MAXIMUM).contains(&found) {
        Ok(())
    } else {
        Err(TpmError::DeviceInfo {
            field,
            found,
            minimum,
            maximum: MAXIMUM,
        })
    }
}

/// The property's name in requests.
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
    use alloc::string::String;

    use super::*;

    #[test]
    fn each_limit_holds_and_names_its_field() {
        let long = String::from("é").repeat(1024);
        let too_long = String::from("é").repeat(1025);
        let fields = [
            DeviceField::Name,
            DeviceField::Serial,
            DeviceField::Vendor,
            DeviceField::Version,
        ];
        for (index, field) in fields.into_iter().enumerate() {
            let minimum = if field == DeviceField::Name { 6 } else { 1 };
            let device = |value: &str| {
                let mut values = ["abcdef"; 4];
                values[index] = value;
                let [name, serial, vendor, version] = values;
                let properties = DeviceProperties {
                    name,
                    serial,
                    vendor,
                    version,
                };
                DeviceInfo::new(properties).map(|_| ())
            };
            let refused = |found| {
                Err(TpmError::DeviceInfo {
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
}
