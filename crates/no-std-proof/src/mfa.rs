//! The call into `keyproof-mfa`.

use keyproof_mfa::{
    AuthMethod, Client, Fingerprint, KeyKind, NewDevice, Password, Policy, Proof, Session,
    SessionId, UnixMillis, User, UserId, UserRecords,
};
use keyproof_otp::Secret;

/// Returns whether a code completes a login and makes a device trusted: enrolment, both steps and recovery codes.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keyproof_mfa_logs_in(
    key: &[u8; 20],
    code: &[u8; 6],
    random: &[[u8; 10]; 10],
    now: u64,
) -> bool {
    let (policy, now) = (Policy::default(), UnixMillis::from_secs(now));
    let text = core::str::from_utf8(code).unwrap_or_default();
    let (Ok(secret), Ok(fingerprint)) = (Secret::from_bytes(key), Fingerprint::new(text)) else {
        return false;
    };
    let secret = &secret;
    let proof = Proof::Typed { text, secret };
    let session = SessionId::new("session");
    let device = NewDevice::new(fingerprint, [0; 4]);
    let user = UserRecords::new(User::new(UserId::new("tenant", "user"), 0))
        .enrol(
            KeyKind::default(),
            Password::Correct,
            [0; 16],
            session,
            now,
            &policy,
        )
        .next
        .activate(&proof, session, now, &policy)
        .next
        .make_recovery_codes(
            Password::Correct,
            None,
            Session {
                id: session,
                auth_method: AuthMethod::Activation,
            },
            random,
            now,
            &policy,
        )
        .next
        .begin_login(Password::Correct, Client::UNKNOWN, now, &policy)
        .next;
    let login = user.answer_challenge(&proof, Some(device), None, now, &policy);
    login.verdict.is_ok()
}
