//! What a session may do, by the factor it has shown.

use keyproof_mfa::{AuthMethod, FactorNeeded};

use crate::ada::{ada, ada_with_key, with_pending_key};

const ALL: [AuthMethod; 3] = [
    AuthMethod::Password,
    AuthMethod::Factor,
    AuthMethod::Activation,
];

#[test]
fn while_a_key_is_active_only_a_session_that_has_shown_a_factor_decides() {
    for ada in [ada(), with_pending_key(ada())] {
        for session in ALL {
            assert_eq!(ada.require_factor(session), Ok(()));
        }
    }
    let (ada, _) = ada_with_key();
    assert_eq!(ada.require_factor(AuthMethod::Password), Err(FactorNeeded));
    assert_eq!(ada.require_factor(AuthMethod::Factor), Ok(()));
    assert_eq!(ada.require_factor(AuthMethod::Activation), Ok(()));
}

#[cfg(feature = "serde")]
#[test]
fn what_was_shown_is_kept_in_plain_words() {
    use keyproof_mfa::{Factor, FactorKind, UnixMillis, VerifiedFactor};
    let shown = |factor: Factor| VerifiedFactor {
        factor: factor.into(),
        at: UnixMillis::from_millis(5),
    };
    assert_eq!(shown(Factor::Key).factor, FactorKind::Code);
    for (factor, text) in [
        (Factor::Key, r#"{"factor":"code","at":5}"#),
        (
            Factor::RecoveryCode { left: 3 },
            r#"{"factor":"recovery_code","at":5}"#,
        ),
    ] {
        let shown = shown(factor);
        assert_eq!(serde_json::to_string(&shown).unwrap(), text);
        assert_eq!(serde_json::from_str::<VerifiedFactor>(text).unwrap(), shown);
    }
}
