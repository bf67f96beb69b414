//! What a device says of itself before it is provisioned.

use core::fmt;

use crate::TpmError;

/// A device's own properties, each within its published limits.
///
/// Lengths count Unicode code points: a name has 6 to 1,024, the others 1 to 1,024.
///
/// ```
/// use keyproof_tpm::{DeviceField, DeviceInfo, TpmError};
///
/// let device = DeviceInfo::new(Some("device-0001"), Some("SN0001"), Some("ExampleCorp"), Some("1"))?;
/// assert_eq!(device.serial(), "SN0001");
///
/// let refused = DeviceInfo::new(Some("short"), Some("SN0001"), Some("ExampleCorp"), None);
/// assert_eq!(
///     refused,
///     Err(TpmError::DeviceInfo { field: DeviceField::Name, found: 5, minimum: 6, maximum: 1024 })
/// );
/// # Ok::<(), TpmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceInfo<'a> {
    name: &'a str,
    serial: &'a str,
    vendor: &'a str,
    version: &'a str,
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
    pub fn new(
        name: Option<&'a str>,
        serial: Option<&'a str>,
        vendor: Option<&'a str>,
        version: Option<&'a str>,
    ) -> Result<Self, TpmError> {
        Ok(DeviceInfo {
            name: within(DeviceField::Name, name)?,
            serial: within(DeviceField::Serial, serial)?,
            vendor: within(DeviceField::Vendor, vendor)?,
            version: within(DeviceField::Version, version)?,
        })
    }

    /// The device's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The device's serial number.
    pub fn serial(&self) -> &'a str {
        self.serial
    }

    /// Who made the device.
    pub fn vendor(&self) -> &'a str {
        self.vendor
    }

    /// The device's version.
    pub fn version(&self) -> &'a str {
        self.version
    }
}

fn within(field: DeviceField, value: Option<&str>) -> Result<&str, TpmError> {
    let value = value.unwrap_or_default();
    let minimum = match field {
        DeviceField::Name => 6,
        DeviceField::Serial | DeviceField::Vendor | DeviceField::Version => 1,
    };
    let found = value.chars().count();
    if (minimum..=MAXIMUM).contains(&found) {
        Ok(value)
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
            let device = |value: Option<&str>| {
                let mut values = [Some("abcdef"); 4];
                values[index] = value;
                let [name, serial, vendor, version] = values;
                DeviceInfo::new(name, serial, vendor, version).map(|_| ())
            };
            let refused = |found| {
                Err(TpmError::DeviceInfo {
                    field,
                    found,
                    minimum,
                    maximum: 1024,
                })
            };
            assert_eq!(device(Some(&long)), Ok(()));
            assert_eq!(device(Some("abcdefghi".get(..minimum).unwrap())), Ok(()));
            assert_eq!(device(Some(&too_long)), refused(1025));
            assert_eq!(device(Some("")), refused(0));
            assert_eq!(device(None), refused(0));
            assert_eq!(device(Some(&"a".repeat(minimum - 1))), refused(minimum - 1));
        }
    }
}
