//! Amounts.

use keyproof_otp::pos::{Amount, PosAlgorithm, confirmation_codes};

use crate::position::assert_position;

/// Amounts: error positions are within the text, limits are kept, and the displayed amount reads back and confirms the same.
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
                confirmation_codes(
                    b"key",
                    PosAlgorithm::TotpWithPrice,
                    Some(price),
                    1_700_000_000,
                )
            };
            assert_eq!(codes(&again), codes(&amount));
            assert_eq!(format!("{amount:?}"), format!("Amount({shown})"));
            let confirmed = codes(&amount).expect("there is a price");
            let lines: Vec<String> = confirmed.codes().iter().map(ToString::to_string).collect();
            assert_eq!(confirmed.to_string(), lines.join("\n"));
        }
        Err(error) => assert_position(error, text),
    }
    algorithm(data, text);
}

/// A till's algorithms, by name and by number. Without a price, they confirm only what needs none.
fn algorithm(data: &[u8], text: &str) {
    let by_name = text.parse::<PosAlgorithm>();
    let by_number = data.first().map(|number| PosAlgorithm::try_from(*number));
    for algorithm in by_name.into_iter().chain(by_number.and_then(Result::ok)) {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        assert_eq!(PosAlgorithm::try_from(algorithm.number()), Ok(algorithm));
        let confirmed = confirmation_codes(data, algorithm, None, u64::MAX);
        assert_eq!(
            confirmed.is_some(),
            algorithm == PosAlgorithm::TotpWithoutPrice
        );
    }
}
