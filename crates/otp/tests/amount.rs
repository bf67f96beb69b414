//! Amounts in Taler's notation: accepted spellings, and the error position of the others.

use keyproof_otp::{
    OtpError::{self, AmountCurrency, AmountFraction, AmountValue},
    pos::{Amount, PosAlgorithm, confirmation_codes},
};
use proptest::prelude::*;

#[test]
fn spellings_of_one_amount_are_equal() {
    for (text, currency, value, fraction, shown) in [
        ("EUR:1.23", "EUR", 1, 23_000_000, "EUR:1.23"),
        ("EUR:1", "EUR", 1, 0, "EUR:1"),
        ("EUR:1.0", "EUR", 1, 0, "EUR:1"),
        ("EUR:01", "EUR", 1, 0, "EUR:1"),
        ("EUR:0000000000000000000000001", "EUR", 1, 0, "EUR:1"),
        ("EUR:.5", "EUR", 0, 50_000_000, "EUR:0.5"),
        ("EUR:0", "EUR", 0, 0, "EUR:0"),
        ("X:0.00000001", "X", 0, 1, "X:0.00000001"),
        (
            "ABCDEFGHIJK:1.10000000",
            "ABCDEFGHIJK",
            1,
            10_000_000,
            "ABCDEFGHIJK:1.1",
        ),
        (
            "KUDOS:4503599627370496",
            "KUDOS",
            Amount::MAX_VALUE,
            0,
            "KUDOS:4503599627370496",
        ),
        (
            "KUDOS:4503599627370496.99999999",
            "KUDOS",
            Amount::MAX_VALUE,
            99_999_999,
            "KUDOS:4503599627370496.99999999",
        ),
    ] {
        let amount: Amount = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (amount.currency(), amount.value(), amount.fraction()),
            (currency, value, fraction)
        );
        assert_eq!(amount.to_string(), shown);
        assert_eq!(shown.parse(), Ok(amount));
    }
}

#[test]
fn malformed_amounts_say_where() {
    for (text, error) in [
        ("", AmountCurrency { at: 0 }),
        (":1", AmountCurrency { at: 0 }),
        ("EUR", AmountCurrency { at: 3 }),
        ("EUR1", AmountCurrency { at: 3 }),
        ("EUR 1", AmountCurrency { at: 3 }),
        ("eur:1", AmountCurrency { at: 0 }),
        ("EUr:1", AmountCurrency { at: 2 }),
        ("ÉUR:1", AmountCurrency { at: 0 }),
        (" EUR:1", AmountCurrency { at: 0 }),
        ("ABCDEFGHIJKL:1", AmountCurrency { at: 11 }),
        ("EUR:", AmountValue { at: 4 }),
        ("EUR: 1", AmountValue { at: 4 }),
        ("EUR:+1", AmountValue { at: 4 }),
        ("EUR:-1", AmountValue { at: 4 }),
        ("EUR:1,5", AmountValue { at: 5 }),
        ("EUR:1 ", AmountValue { at: 5 }),
        ("EUR:4503599627370497", AmountValue { at: 19 }),
        ("EUR:99999999999999999999999", AmountValue { at: 19 }),
        ("EUR:1.", AmountFraction { at: 6 }),
        ("EUR:.", AmountFraction { at: 5 }),
        ("EUR:1.123456789", AmountFraction { at: 14 }),
        ("EUR:1.000000000", AmountFraction { at: 14 }),
        ("EUR:1.2.3", AmountFraction { at: 7 }),
        ("EUR:1.-2", AmountFraction { at: 6 }),
        ("EUR:1.2 ", AmountFraction { at: 7 }),
    ] {
        assert_eq!(text.parse::<Amount>(), Err(error), "{text:?}");
    }
}

#[test]
fn debug_shows_an_amount_as_it_is_written() {
    let amount: Amount = "EUR:01.50".parse().unwrap();
    assert_eq!(format!("{amount:?}"), "Amount(EUR:1.5)");
}

#[test]
fn pos_algorithms_have_names_and_numbers() {
    for (number, name) in [
        (0, "NONE"),
        (1, "TOTP_WITHOUT_PRICE"),
        (2, "TOTP_WITH_PRICE"),
    ] {
        let algorithm = PosAlgorithm::try_from(number).unwrap();
        assert_eq!((algorithm.number(), algorithm.name()), (number, name));
        assert_eq!(name.to_lowercase().parse(), Ok(algorithm));
    }
    assert_eq!(
        PosAlgorithm::try_from(3),
        Err(OtpError::UnknownPosAlgorithm)
    );
    assert_eq!(
        "TOTP".parse::<PosAlgorithm>(),
        Err(OtpError::UnknownPosAlgorithm)
    );
}

#[test]
fn the_price_is_only_asked_for_where_it_counts() {
    let price: Amount = "EUR:1".parse().unwrap();
    let codes = |algorithm, price| confirmation_codes(b"key", algorithm, price, 1_000_000);
    assert_eq!(codes(PosAlgorithm::None, Some(&price)), None);
    assert_eq!(codes(PosAlgorithm::TotpWithPrice, None), None);
    let plain = codes(PosAlgorithm::TotpWithoutPrice, None);
    assert!(plain.is_some());
    assert_eq!(codes(PosAlgorithm::TotpWithoutPrice, Some(&price)), plain);
    let other: Amount = "EUR:1.00000001".parse().unwrap();
    let priced = codes(PosAlgorithm::TotpWithPrice, Some(&price));
    assert_ne!(priced, plain);
    assert_ne!(priced, codes(PosAlgorithm::TotpWithPrice, Some(&other)));
}

#[test]
fn each_of_the_five_codes_confirms_and_no_other() {
    let codes =
        |now| confirmation_codes(b"key", PosAlgorithm::TotpWithoutPrice, None, now).unwrap();
    let now = codes(1_000_000);
    for code in now.codes() {
        assert!(now.contains(code));
    }
    assert!(!now.contains(&codes(999_970).codes()[0]));
    assert!(!now.contains(&codes(1_000_030).codes()[4]));
}

#[test]
fn confirmations_stop_at_the_ends_of_time() {
    let lines = |now| {
        let codes = confirmation_codes(b"key", PosAlgorithm::TotpWithoutPrice, None, now).unwrap();
        codes
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let [start, end] = [lines(30), lines(u64::MAX)];
    assert_eq!(start[0], start[1], "30 - 60 and 30 - 30 are both 0");
    assert_ne!(start[1], start[2]);
    assert_eq!(end[2], end[4]);
    assert_ne!(end[1], end[2]);
    // A code that is shown twice confirms as well.
    for now in [0, 30, u64::MAX - 30, u64::MAX] {
        let shown = confirmation_codes(b"key", PosAlgorithm::TotpWithoutPrice, None, now).unwrap();
        let mut codes = shown.codes().iter();
        assert!(codes.all(|code| shown.contains(code)), "{now}");
    }
}

proptest! {
    #[test]
    fn amounts_are_read_as_they_are_shown(
        currency in "[A-Z]{1,11}",
        value in 0..=Amount::MAX_VALUE,
        fraction in 0_u32..100_000_000,
        zeros in "0{0,5}",
    ) {
        let amount: Amount = format!("{currency}:{zeros}{value}.{fraction:08}").parse().unwrap();
        prop_assert_eq!(amount.currency(), currency);
        prop_assert_eq!((amount.value(), amount.fraction()), (value, fraction));
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
    }
}
