//! `TPML_PCR_SELECTION`: the selected registers of each PCR bank.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use crate::{
    TpmError,
    algorithm::HashAlgorithm,
    wire::{Reader, Wire, put_u16},
};

/// `TPML_PCR_SELECTION` (Part 2, 10.9.7): banks in the order in which their values are hashed.
///
/// [`Display`](fmt::Display) and [`FromStr`] use the text form of tpm2-tools:
/// `sha256:0,1,7+sha384:0`.
///
/// ```
/// use keyproof_tpm::{HashAlgorithm, TpmlPcrSelection};
///
/// // The text form of tpm2-tools.
/// let selection: TpmlPcrSelection = "sha256:0,1,7+sha384:0".parse()?;
/// assert_eq!(selection.values_size(), 3 * 32 + 48);
/// let values = [7; 3 * 32 + 48];
/// let split = selection.split(&values).unwrap();
/// assert_eq!((split[2].0, split[2].1), (HashAlgorithm::Sha256, 7));
/// assert!("sha256:24x".parse::<TpmlPcrSelection>().is_err());
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TpmlPcrSelection {
    banks: Vec<TpmsPcrSelection>,
}

/// `TPMS_PCR_SELECTION` (Part 2, 10.6.2): selected registers of one bank.
///
/// ```
/// use keyproof_tpm::{HashAlgorithm, TpmlPcrSelection, TpmsPcrSelection};
///
/// let bank = TpmsPcrSelection::new(HashAlgorithm::Sha256, [0, 1, 7])?;
/// assert_eq!((bank.hash(), bank.registers().last()), (HashAlgorithm::Sha256, Some(7)));
/// let selection: TpmlPcrSelection = [bank].into_iter().collect();
/// assert_eq!(selection.to_string(), "sha256:0,1,7");
/// # Ok::<(), keyproof_tpm::TpmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TpmsPcrSelection {
    hash: HashAlgorithm,
    /// The size of `registers` on the wire, in bytes.
    select_size: u8,
    /// Bit n is PCR n.
    registers: u32,
}

/// Registers with their values, as an accepted quote confirms them.
///
/// Only [`check_quote`](crate::check_quote) creates them. With them, an event log is compared with
/// what a TPM has signed ([`EventLogPolicy::new`](crate::EventLogPolicy::new)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotedRegisters {
    selection: TpmlPcrSelection,
    /// As many bytes as the selection requires.
    values: Vec<u8>,
}

/// The number of hash algorithms, with room for duplicates.
const MAX_BANKS: u32 = 16;

/// `PCR_SELECT_MIN` of the PC Client profile: 24 registers.
const USUAL_SELECT_SIZE: u8 = 3;

/// The largest accepted selection: 32 registers.
const MAX_SELECT_SIZE: u8 = 4;

impl TpmlPcrSelection {
    /// Returns the banks in wire order.
    pub fn banks(&self) -> &[TpmsPcrSelection] {
        &self.banks
    }

    /// Returns whether no register is selected.
    pub fn is_empty(&self) -> bool {
        self.banks.iter().all(|bank| bank.registers == 0)
    }

    /// Returns whether both select the same registers in the same order. Ignores the size on the
    /// wire and banks without a selected register.
    pub fn selects_same(&self, other: &Self) -> bool {
        fn chosen(selection: &TpmlPcrSelection) -> impl Iterator<Item = (HashAlgorithm, u32)> {
            selection
                .banks
                .iter()
                .filter(|bank| bank.registers != 0)
                .map(|bank| (bank.hash, bank.registers))
        }
        chosen(self).eq(chosen(other))
    }

    /// Returns the total size of the selected registers' values, in bytes.
    pub fn values_size(&self) -> usize {
        self.banks
            .iter()
            .map(|bank| {
                // At most 32 registers of 64 bytes: this cannot overflow.
                usize::try_from(bank.registers.count_ones()).unwrap_or(0) * bank.hash.digest_size()
            })
            .sum()
    }

    /// Splits `values`, the concatenated register values in selection order, into bank, register
    /// number and value. Returns `None` if the size of `values` does not match the selection.
    pub fn split<'a>(&self, values: &'a [u8]) -> Option<Vec<(HashAlgorithm, u8, &'a [u8])>> {
        let mut rest = values;
        let mut split = Vec::new();
        for bank in &self.banks {
            for index in bank.registers() {
                let (value, after) = rest.split_at_checked(bank.hash.digest_size())?;
                split.push((bank.hash, index, value));
                rest = after;
            }
        }
        rest.is_empty().then_some(split)
    }
}

impl TpmsPcrSelection {
    /// Selects `registers` of a bank, each below 32. The wire form covers the PC Client profile's
    /// 24 registers, or more if a selected register requires it.
    ///
    /// # Errors
    ///
    /// [`TpmError::PcrIndex`] for a register above 31.
    pub fn new(
        hash: HashAlgorithm,
        registers: impl IntoIterator<Item = u8>,
    ) -> Result<Self, TpmError> {
        let mut bits = 0_u32;
        for index in registers {
            bits |= 1_u32
                .checked_shl(index.into())
                .ok_or(TpmError::PcrIndex { index })?;
        }
        let select_size = if bits >> 24 == 0 {
            USUAL_SELECT_SIZE
        } else {
            MAX_SELECT_SIZE
        };
        Ok(Self {
            hash,
            select_size,
            registers: bits,
        })
    }

    /// Returns the bank's hash algorithm.
    pub fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// Returns the numbers of the selected registers, ascending.
    pub fn registers(&self) -> impl Iterator<Item = u8> + use<> {
        let bits = self.registers;
        (0..32).filter(move |index| bits >> index & 1 == 1)
    }
}

impl QuotedRegisters {
    /// Creates the registers of an accepted quote whose digest matches `values`.
    pub(crate) fn new(selection: TpmlPcrSelection, values: &[u8]) -> Self {
        Self {
            selection,
            values: values.to_vec(),
        }
    }

    /// Returns the quoted registers.
    pub fn selection(&self) -> &TpmlPcrSelection {
        &self.selection
    }

    /// Returns their values, concatenated in the order of the selection;
    /// [`TpmlPcrSelection::split`] splits them.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// Keeps only the registers for whose bank and number `keep` returns `true`. Drop those that
    /// the operating system extends without a log before comparing them with the firmware's.
    pub fn retain(&mut self, mut keep: impl FnMut(HashAlgorithm, u8) -> bool) {
        let mut values = self.values.as_slice();
        let mut kept = Vec::new();
        for bank in &mut self.selection.banks {
            for index in bank.registers() {
                // Never cut short: there are as many bytes as the selection requires.
                let size = bank.hash.digest_size().min(values.len());
                let (value, after) = values.split_at(size);
                values = after;
                if keep(bank.hash, index) {
                    kept.extend_from_slice(value);
                } else {
                    bank.registers &= !(1_u32 << index);
                }
            }
        }
        self.values = kept;
    }
}

impl FromIterator<TpmsPcrSelection> for TpmlPcrSelection {
    fn from_iter<I: IntoIterator<Item = TpmsPcrSelection>>(banks: I) -> Self {
        Self {
            banks: banks.into_iter().collect(),
        }
    }
}

impl Wire for TpmlPcrSelection {
    const NAME: &'static str = "TPML_PCR_SELECTION";

    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let at = reader.at();
        let count = reader.u32()?;
        if count > MAX_BANKS {
            return Err(TpmError::UnknownSelector {
                at,
                value: count,
                what: "HASH_COUNT",
            });
        }
        (0..count).map(|_| TpmsPcrSelection::read(reader)).collect()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.banks.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for bank in &self.banks {
            bank.write(out);
        }
    }
}

impl TpmsPcrSelection {
    fn read(reader: &mut Reader<'_>) -> Result<Self, TpmError> {
        let hash = HashAlgorithm::read(reader)?;
        let at = reader.at();
        let select_size = reader.u8()?;
        if !(1..=MAX_SELECT_SIZE).contains(&select_size) {
            return Err(TpmError::WrongSize {
                at,
                found: select_size.into(),
                what: "TPMS_PCR_SELECT",
            });
        }
        let octets = reader.take(select_size.into())?;
        let mut bits = [0; 4];
        for (bit_octet, octet) in bits.iter_mut().zip(octets) {
            *bit_octet = *octet;
        }
        Ok(Self {
            hash,
            select_size,
            registers: u32::from_le_bytes(bits),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_u16(out, self.hash.id());
        out.push(self.select_size);
        out.extend(
            self.registers
                .to_le_bytes()
                .iter()
                .take(self.select_size.into()),
        );
    }
}

/// Writes the banks with a selected register, so that the text can be parsed.
impl fmt::Display for TpmlPcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before_bank = "";
        for bank in self.banks.iter().filter(|bank| bank.registers != 0) {
            write!(f, "{before_bank}{}", bank.hash)?;
            before_bank = "+";
            let mut before_register = ":";
            for index in bank.registers() {
                write!(f, "{before_register}{index}")?;
                before_register = ",";
            }
        }
        Ok(())
    }
}

impl FromStr for TpmlPcrSelection {
    type Err = TpmError;

    /// Parses banks joined by `+`. Each is a hash, a colon and decimal register numbers joined by
    /// commas. Rejects duplicate banks or registers, an empty register list, and signs such as
    /// `-1`.
    ///
    /// # Errors
    ///
    /// [`TpmError::PcrSelectionText`], and [`TpmError::PcrIndex`] for a register above 31.
    fn from_str(text: &str) -> Result<Self, TpmError> {
        let mut banks: Vec<TpmsPcrSelection> = Vec::new();
        let mut at = 0_usize;
        for part in text.split('+') {
            let bank = parse_bank(part, at)?;
            if banks.iter().any(|earlier| earlier.hash == bank.hash) {
                return Err(TpmError::PcrSelectionText { at });
            }
            banks.push(bank);
            at = at.saturating_add(part.len()).saturating_add(1);
        }
        Ok(Self { banks })
    }
}

fn parse_bank(text: &str, at: usize) -> Result<TpmsPcrSelection, TpmError> {
    let (hash, list) = text
        .split_once(':')
        .ok_or(TpmError::PcrSelectionText { at })?;
    let hash = HashAlgorithm::from_name(hash).ok_or(TpmError::PcrSelectionText { at })?;
    let mut at = at.saturating_add(hash.name().len()).saturating_add(1);
    let mut registers: Vec<u8> = Vec::new();
    for number in list.split(',') {
        // Only digits: `+`, the one sign that is parsed, separates banks.
        let index = number
            .parse()
            .ok()
            .filter(|index| !registers.contains(index));
        registers.push(index.ok_or(TpmError::PcrSelectionText { at })?);
        at = at.saturating_add(number.len()).saturating_add(1);
    }
    TpmsPcrSelection::new(hash, registers)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::Structure;

    #[test]
    fn text_and_wire_agree() {
        let text = "sha256:0,1,7,16+sha384:23";
        let selection: TpmlPcrSelection = text.parse().unwrap();
        assert_eq!(selection.to_string(), text);
        let wire = b"\0\0\0\x02\0\x0b\x03\x83\0\x01\0\x0c\x03\0\0\x80";
        assert_eq!(selection.to_bytes(), wire);
        assert_eq!(TpmlPcrSelection::parse(wire).unwrap(), selection);
        assert_eq!(selection.values_size(), 4 * 32 + 48);
    }

    #[test]
    fn registers_that_stay_keep_their_values() {
        let selection = "sha1:0,1+sha256:2".parse().unwrap();
        let values = [[0_u8; 20].as_slice(), &[1; 20], &[2; 32]].concat();
        let mut registers = QuotedRegisters::new(selection, &values);
        let mut asked = 0;
        // It is asked once for each, so that it may count.
        registers.retain(|_, _| {
            asked += 1;
            asked != 1
        });
        assert_eq!(asked, 3);
        assert_eq!(registers.selection().to_string(), "sha1:1+sha256:2");
        assert_eq!(registers.values(), &values[20..]);
    }

    #[test]
    fn text_is_strict() {
        for (text, at) in [
            ("", 0),
            ("sha256", 0),
            ("sha256:", 7),
            ("sha256:0,", 9),
            ("sha256:+1", 7),
            ("sha256: 1", 7),
            ("sha256:-1", 7),
            ("sha256:-0", 7),
            ("sha256:1 ", 7),
            ("sha256:0,0", 9),
            ("sha256:0,256", 9),
            ("md5:0", 0),
            ("sha256:0+sha256:1", 9),
        ] {
            let found = text.parse::<TpmlPcrSelection>();
            assert_eq!(found, Err(TpmError::PcrSelectionText { at }), "{text}");
        }
        assert_eq!(
            "sha256:32".parse::<TpmlPcrSelection>(),
            Err(TpmError::PcrIndex { index: 32 })
        );
    }

    #[test]
    fn width_and_unused_banks_make_no_difference_but_order_does() {
        let narrow = TpmlPcrSelection::parse(b"\0\0\0\x01\0\x0b\x01\x03").unwrap();
        let wide =
            TpmlPcrSelection::parse(b"\0\0\0\x02\0\x04\x03\0\0\0\0\x0b\x03\x03\0\0").unwrap();
        assert!(narrow.selects_same(&wide));
        assert_ne!(narrow, wide);
        assert_eq!(wide.to_string(), "sha256:0,1");
        let read: TpmlPcrSelection = wide.to_string().parse().unwrap();
        assert!(read.selects_same(&wide));
        let one: TpmlPcrSelection = "sha256:0+sha384:0".parse().unwrap();
        let other: TpmlPcrSelection = "sha384:0+sha256:0".parse().unwrap();
        assert!(!one.selects_same(&other));
    }

    #[test]
    fn wire_is_bounded() {
        let banks = b"\0\x0b\x03\x01\0\0".repeat(16);
        let largest = [&b"\0\0\0\x10"[..], &banks].concat();
        let selection = TpmlPcrSelection::parse(&largest).unwrap();
        assert_eq!(selection.to_bytes(), largest);
        assert_eq!(
            TpmlPcrSelection::parse(b"\0\0\0\x11"),
            Err(TpmError::UnknownSelector {
                at: 0,
                value: 17,
                what: "HASH_COUNT"
            })
        );
        for (wire, found) in [
            (&b"\0\0\0\x01\0\x0b\0"[..], 0),
            (b"\0\0\0\x01\0\x0b\x05aaaaa", 5),
        ] {
            assert_eq!(
                TpmlPcrSelection::parse(wire),
                Err(TpmError::WrongSize {
                    at: 6,
                    found,
                    what: "TPMS_PCR_SELECT"
                })
            );
        }
    }
}
