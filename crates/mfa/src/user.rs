use crate::digest::Digest;

/// Which user, as a digest of the names the caller knows them by.
///
/// Records have it to show whose they are; it cannot be turned back into the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct UserId(Digest);

impl UserId {
    /// Digests a tenant and the user's name or number there. Whatever their characters, no two
    /// pairs give one id.
    pub fn new(tenant: &str, user: &str) -> Self {
        Self(Digest::new("user", &[tenant.as_bytes(), user.as_bytes()]))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// A user, and for how long what hangs on their password is good.
///
/// Challenges and trusted devices are bound to both parts, keys and recovery codes to neither:
/// they outlive a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct User {
    id: UserId,
    generation: u64,
}

impl User {
    /// Names a user. `generation` is a number that the caller keeps with the password and raises
    /// whenever the password changes, or the user is suspended: it ends every challenge and
    /// trusted device of before.
    pub const fn new(id: UserId, generation: u64) -> Self {
        Self { id, generation }
    }

    /// Which user.
    pub const fn id(&self) -> UserId {
        self.id
    }

    /// The number that the caller keeps.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The same user after a change of password.
    pub(crate) const fn renewed(self) -> Self {
        Self {
            generation: self.generation.wrapping_add(1),
            ..self
        }
    }
}
