//! Amounts.

use keyproof_otp::pos::{Amount, PosAlgorithm, confirm};

use crate::position::assert_position;

/// Amounts: positions within the text, bounds, the shown amount reads back and confirms the same.
pub fn amount(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match text.parse::<Amount>() {
        Ok(amount) => {
            assert!((1..=11).contains(&amount.currency().len()));
            assert!(
                amount
                    .currency()
                    .bytes()
                    .all(|letter| letter.is_ascii_uppercase())
            );
            assert!(amount.value() <= Amount::MAX_VALUE);
            assert!(amount.fraction() < 100_000_000);

            let shown = amount.to_string();
            assert!(
                !shown.contains('.') || !shown.ends_with(['0', '.']),
                "{shown} is not shortest"
            );
            let again: Amount = shown.parse().expect("an amount reads what it shows");
            assert_eq!(again, amount);
            let codes = |price| {
                confirm(
                    b"key",
                    PosAlgorithm::TotpWithPrice,
                    Some(price),
                    1_700_000_000,
                )
            };
            assert_eq!(codes(&again), codes(&amount));
        }
        Err(error) => assert_position(error, text),
    }
}
