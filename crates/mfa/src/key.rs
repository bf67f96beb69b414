//! A user's key: pending until one of its codes is accepted, then active until it is removed.

use core::fmt;

use keyproof_otp::{Code, Secret};

use crate::{
    TotpParameters, UnixMillis,
    totp::{TotpKey, Wrong},
};

/// Identifies the enrolment that a key comes from: 128 random bits, drawn anew for each.
///
/// Challenges, devices and recovery codes refer to it, so all of them end with their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Generation(#[cfg_attr(feature = "serde", serde(with = "crate::stored::hex"))] [u8; 16]);

impl Generation {
    pub(crate) const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The bits, so that a caller can bind other data to the enrolment, for example as associated
    /// data when sealing the secret.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The kind of a key, and its parameters.
///
/// ```
/// use keyproof_mfa::{KeyKind, TotpParameters};
///
/// // Supported by every authenticator app: SHA-1, six digits, 30 seconds.
/// assert_eq!(KeyKind::default(), KeyKind::Totp(TotpParameters::default()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// Time-based one-time passwords.
    Totp(TotpParameters),
}

impl Default for KeyKind {
    fn default() -> Self {
        Self::Totp(TotpParameters::default())
    }
}

/// Whether logins require a code of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStatus {
    /// Not yet: none of its codes has been accepted.
    Pending,
    /// Logins require a code.
    Active {
        /// When it was activated.
        since: UnixMillis,
    },
}

/// A key, without its secret. The caller seals the secret, stores it beside this record and passes
/// it in with each [`Proof`].
///
/// ```
/// use keyproof_mfa::{KeyKind, KeyStatus, Password, Policy, Proof, SessionId, UnixMillis, User, UserId, UserRecords};
/// # use keyproof_mfa::otp::{Secret, Totp};
/// # let (policy, secret) = (Policy::default(), Secret::from_bytes(&[7; 20])?);
/// # let phone = |at: UnixMillis| Totp::new(&secret, Default::default(), Default::default()).code(at.as_secs()).to_string();
/// # let (hers, now) = (SessionId::new("hers"), UnixMillis::from_secs(1_800_000_000));
/// # let ada = UserRecords::new(User::new(UserId::new("example.org", "ada"), 0));
/// # let ada = ada.enrol(KeyKind::default(), Password::Correct, [1; 16], hers, now, &policy).next;
///
/// let key = ada.key.ok_or("she has just enrolled one")?;
/// assert_eq!((key.status(), key.drift_steps()), (KeyStatus::Pending, None));
/// assert_eq!(key.generation().as_bytes(), &[1; 16]); // bound to the sealed secret, with her name
///
/// // The clock of her phone is half a minute ahead.
/// let code = phone(UnixMillis::from_secs(1_800_000_030));
/// let ada = ada.activate(&Proof::Typed { text: &code, secret: &secret }, hers, now, &policy).next;
/// let key = ada.key.ok_or("it stays")?;
/// assert_eq!((key.status(), key.drift_steps()), (KeyStatus::Active { since: now }, Some(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(into = "crate::stored::Key", try_from = "crate::stored::Key")
)]
pub struct KeyRecord {
    pub(crate) generation: Generation,
    pub(crate) created_at: UnixMillis,
    pub(crate) totp: TotpKey,
    pub(crate) status: KeyStatus,
}

impl KeyRecord {
    pub(crate) const fn pending(
        kind: KeyKind,
        generation: Generation,
        created_at: UnixMillis,
    ) -> Self {
        let KeyKind::Totp(parameters) = kind;
        Self {
            generation,
            created_at,
            totp: TotpKey {
                parameters,
                spent: None,
            },
            status: KeyStatus::Pending,
        }
    }

    /// The enrolment that the key comes from.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The key's kind.
    pub const fn kind(&self) -> KeyKind {
        KeyKind::Totp(self.totp.parameters)
    }

    /// Whether logins require a code of this key.
    pub const fn status(&self) -> KeyStatus {
        self.status
    }

    /// When it was enrolled.
    pub const fn created_at(&self) -> UnixMillis {
        self.created_at
    }

    /// How many steps of the key's period the phone's clock was ahead of this one when its last
    /// code was accepted, negative if it was behind. It is limited to -2 to 2. `None` while the key
    /// is pending.
    pub const fn drift_steps(&self) -> Option<i8> {
        match self.totp.spent {
            Some(spent) => Some(spent.drift),
            None => None,
        }
    }

    /// Returns this key with every code spent that it may have accepted by `now`. Use it after a
    /// restore of older records. It includes the codes of a phone whose clock is ahead by the
    /// largest drift that is learned. `None` while the key is pending, since the step of its first
    /// code is then unknown.
    #[must_use = "the codes can be used until this key is committed"]
    pub fn spent_until(&self, now: UnixMillis) -> Option<Self> {
        Some(Self {
            totp: self.totp.spent_until(now)?,
            ..*self
        })
    }

    pub(crate) const fn is_active(&self) -> bool {
        matches!(self.status, KeyStatus::Active { .. })
    }

    /// Returns the key after it has accepted a proof, which activates a pending key.
    pub(crate) fn accept(&self, proof: &Proof<'_>, now: UnixMillis) -> Result<Self, Wrong> {
        let Proof::Typed { text, secret } = proof;
        let code = Code::parse(text, self.totp.parameters.digits).map_err(|_| Wrong::Code)?;
        Ok(Self {
            totp: self.totp.accept(secret, &code, now)?,
            status: match self.status {
                KeyStatus::Pending => KeyStatus::Active { since: now },
                active @ KeyStatus::Active { .. } => active,
            },
            ..*self
        })
    }
}

/// What a user presents to prove possession of their key.
///
/// ```
/// use keyproof_mfa::Proof;
/// use keyproof_mfa::otp::Secret;
///
/// let unsealed = Secret::from_bytes(&[7; 20])?; // stored sealed beside the key's record
/// let proof = Proof::Typed { text: "123456", secret: &unsealed };
/// assert_eq!(format!("{proof:?}"), "Typed([redacted])");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Proof<'a> {
    /// A typed code.
    Typed {
        /// A code of a TOTP key: its digits and nothing else. Except at activation, a recovery code
        /// is accepted too, in any form that [`RecoveryCode::parse`](crate::RecoveryCode::parse)
        /// accepts.
        text: &'a str,
        /// The key's secret.
        secret: &'a Secret,
    },
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed { .. } => f.write_str("Typed([redacted])"),
        }
    }
}
