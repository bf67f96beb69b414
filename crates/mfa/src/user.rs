use crate::digest::Digest;

/// Identifies a user: a digest of the caller's names for them.
///
/// Records contain it to show whose they are. It cannot be turned back into the names.
///
/// ```
/// use keyproof_mfa::UserId;
///
/// let ada = UserId::new("example.org", "ada");
/// assert_eq!(ada, UserId::new("example.org", "ada")); // it contains no secret and no randomness
/// assert_ne!(ada, UserId::new("example.or", "gada"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct UserId(Digest);

impl UserId {
    /// Digests a tenant and the user's name or number there. Different pairs have different ids,
    /// whatever characters they contain.
    pub fn new(tenant: &str, user: &str) -> Self {
        Self(Digest::new("user", &[tenant.as_bytes(), user.as_bytes()]))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// A user, and the generation of their password.
///
/// Challenges and trusted devices are bound to both. Keys and recovery codes are bound to neither,
/// so they survive a new password.
///
/// ```
/// use keyproof_mfa::{ChallengeInvalid, Client, KeyKind, LoginRefusal, Password, Policy, Proof, SessionId, UnixMillis, User, UserId, UserRecords};
/// # use keyproof_mfa::otp::{Secret, Totp};
/// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
/// # let phone = |at: UnixMillis| Totp::new(&secret, Default::default(), Default::default()).code(at.as_secs()).to_string();
/// # let (hers, now) = (SessionId::new("hers"), UnixMillis::from_secs(1_800_000_000));
/// # let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// # let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, now, &policy).next;
/// # let first = phone(now);
/// # let ada = ada.activate(&Proof::Typed { text: &first, secret: &secret }, hers, now, &policy).next;
/// # let (now, code) = (UnixMillis::from_secs(1_800_000_060), phone(UnixMillis::from_secs(1_800_000_060)));
///
/// let mut ada = ada.begin_login(Password::Correct, Client::UNKNOWN, now, &policy).next;
/// ada.user = User::new(ada.user.id(), ada.user.generation() + 1); // meanwhile her password was changed
/// let answered = ada.answer_challenge(&Proof::Typed { text: &code, secret: &secret }, None, None, now, &policy);
/// assert_eq!(answered.verdict, Err(LoginRefusal::ChallengeInvalid(ChallengeInvalid::UserChanged)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct User {
    id: UserId,
    generation: u64,
}

impl User {
    /// Creates a user. `generation` is a number that the caller stores with the password and
    /// increases whenever the password changes or the user is suspended. That ends every earlier
    /// challenge and trusted device.
    pub const fn new(id: UserId, generation: u64) -> Self {
        Self { id, generation }
    }

    /// The user's id.
    pub const fn id(&self) -> UserId {
        self.id
    }

    /// The generation of the password.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The same user with the next generation.
    pub(crate) const fn renewed(self) -> Self {
        Self {
            generation: self.generation.wrapping_add(1),
            ..self
        }
    }
}
