//! What a session may do, by the factor it has shown.

use keyproof_mfa::{FactorNeeded, Standing};

use crate::ada::{ada, ada_with_key, with_pending_key};

const ALL: [Standing; 3] = [Standing::Password, Standing::Factor, Standing::Activation];

#[test]
fn while_a_key_is_active_only_a_session_that_has_shown_a_factor_decides() {
    for ada in [ada(), with_pending_key(ada())] {
        for session in ALL {
            assert_eq!(ada.may_decide(session), Ok(()));
        }
    }
    let (ada, _) = ada_with_key();
    assert_eq!(ada.may_decide(Standing::Password), Err(FactorNeeded));
    assert_eq!(ada.may_decide(Standing::Factor), Ok(()));
    assert_eq!(ada.may_decide(Standing::Activation), Ok(()));
}

#[cfg(feature = "serde")]
#[test]
fn what_was_shown_is_kept_in_plain_words() {
    use keyproof_mfa::{Factor, Shown, ShownFactor, UnixMillis};
    let shown = |factor: Factor| Shown {
        factor: factor.into(),
        at: UnixMillis::from_millis(5),
    };
    assert_eq!(shown(Factor::Key).factor, ShownFactor::Code);
    for (factor, text) in [
        (Factor::Key, r#"{"factor":"code","at":5}"#),
        (
            Factor::RecoveryCode { left: 3 },
            r#"{"factor":"recovery_code","at":5}"#,
        ),
    ] {
        let shown = shown(factor);
        assert_eq!(serde_json::to_string(&shown).unwrap(), text);
        assert_eq!(serde_json::from_str::<Shown>(text).unwrap(), shown);
    }
}
