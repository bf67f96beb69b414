//! Scopes of GNU Taler login tokens (merchant API, `POST private/token`). Each name is a set of permissions, and every
//! decision is made on those sets.

use core::{fmt, str::FromStr};

use crate::AuthError;

/// The known scopes, shown with an [`AuthError::UnknownScope`].
const KNOWN: &str = "the scopes are all, order-full, order-mgmt, order-pos, order-simple, readonly and write, each also with \
     :refreshable behind it";

/// A permission of a login token, with Taler's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// `inventory-lock`
    InventoryLock,
    /// `orders-read`
    OrdersRead,
    /// `orders-refund`
    OrdersRefund,
    /// `orders-write`
    OrdersWrite,
    /// `otp-devices-read`: list and show devices.
    OtpDevicesRead,
    /// `otp-devices-write`: add, change and remove devices.
    OtpDevicesWrite,
    /// `token-refresh`: exchange the token for a new one. No grant contains it; `:refreshable` adds it.
    TokenRefresh,
}

impl Permission {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A named set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginGrant {
    /// `all`
    All,
    /// `order-full`: `order-pos` and `order-mgmt` together.
    OrderFull,
    /// `order-mgmt`: `order-simple` and refunds.
    OrderMgmt,
    /// `order-pos`: `order-simple` and locking the inventory.
    OrderPos,
    /// `order-simple`: create orders and see whether they are paid.
    OrderSimple,
    /// `readonly`: every permission that only reads.
    ReadOnly,
    /// `write`: the deprecated name of `all`. It is written back under the same name.
    Write,
}

impl LoginGrant {
    const ALL: [Self; 7] = [
        Self::All,
        Self::OrderFull,
        Self::OrderMgmt,
        Self::OrderPos,
        Self::OrderSimple,
        Self::ReadOnly,
        Self::Write,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::OrderFull => "order-full",
            Self::OrderMgmt => "order-mgmt",
            Self::OrderPos => "order-pos",
            Self::OrderSimple => "order-simple",
            Self::ReadOnly => "readonly",
            Self::Write => "write",
        }
    }

    /// The permissions of the grant, as bits.
    const fn permissions(self) -> u8 {
        const ORDERS: u8 = Permission::OrdersRead.bit() | Permission::OrdersWrite.bit();
        match self {
            Self::All | Self::Write => !Permission::TokenRefresh.bit(),
            Self::OrderFull => Self::OrderMgmt.permissions() | Self::OrderPos.permissions(),
            Self::OrderMgmt => ORDERS | Permission::OrdersRefund.bit(),
            Self::OrderPos => ORDERS | Permission::InventoryLock.bit(),
            Self::OrderSimple => ORDERS,
            Self::ReadOnly => Permission::OrdersRead.bit() | Permission::OtpDevicesRead.bit(),
        }
    }

    /// Whether `other` allows everything that `self` allows.
    #[must_use = "otherwise a wider scope is not noticed"]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.permissions() & !other.permissions() == 0
    }
}

/// The scope of a login token: what it allows, and whether it may be exchanged for a new token.
///
/// ```
/// use keyproof_auth::taler::{LoginScope, Permission};
///
/// let of_a_till: LoginScope = "order-pos:refreshable".parse()?;
/// assert!(of_a_till.allows(Permission::OrdersWrite) && !of_a_till.allows(Permission::OrdersRefund));
/// let narrower: LoginScope = "order-simple".parse()?;
/// assert!(of_a_till.may_issue(narrower));
/// assert!(!narrower.may_issue(narrower)); // it is not refreshable
/// assert!(!of_a_till.may_issue("order-full".parse()?)); // it includes refunds
/// # Ok::<(), keyproof_auth::AuthError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoginScope {
    /// The allowed permissions.
    pub grant: LoginGrant,
    /// Whether the token may be exchanged for a new one. On the wire the suffix `:refreshable`.
    pub refreshable: bool,
}

impl LoginScope {
    /// Whether the scope allows `permission`.
    #[must_use = "otherwise the permission is not checked"]
    pub const fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::TokenRefresh => self.refreshable,
            other => self.grant.permissions() & other.bit() != 0,
        }
    }

    /// Whether the bearer of `self` may be issued a token of `requested`: only if `self` is refreshable, and only
    /// within what it already allows.
    #[must_use = "otherwise a wider scope is not noticed"]
    pub const fn may_issue(self, requested: Self) -> bool {
        self.allows(Permission::TokenRefresh) && requested.grant.is_subset_of(self.grant)
    }
}

impl FromStr for LoginScope {
    type Err = AuthError;

    /// Parses a name and an optional suffix, ignoring ASCII case. [`UnknownScope`](AuthError::UnknownScope) for
    /// anything else.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        let (name, refreshable) = match text.split_once(':') {
            None => (text, false),
            Some((name, suffix)) if suffix.eq_ignore_ascii_case("refreshable") => (name, true),
            Some(_) => return Err(AuthError::unknown_scope(text, KNOWN)),
        };
        LoginGrant::ALL
            .into_iter()
            .find(|grant| grant.name().eq_ignore_ascii_case(name))
            .map(|grant| Self { grant, refreshable })
            .ok_or_else(|| AuthError::unknown_scope(text, KNOWN))
    }
}

impl fmt::Display for LoginScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.refreshable { ":refreshable" } else { "" };
        write!(f, "{}{suffix}", self.grant.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::{prelude::*, sample::select};

    fn grant() -> impl Strategy<Value = LoginGrant> {
        select(LoginGrant::ALL.as_slice())
    }

    const PERMISSIONS: [Permission; 7] = [
        Permission::InventoryLock,
        Permission::OrdersRead,
        Permission::OrdersRefund,
        Permission::OrdersWrite,
        Permission::OtpDevicesRead,
        Permission::OtpDevicesWrite,
        Permission::TokenRefresh,
    ];

    #[test]
    fn order_scopes_reach_no_device() {
        use LoginGrant::*;
        for grant in [OrderFull, OrderMgmt, OrderPos, OrderSimple] {
            let scope = LoginScope {
                grant,
                refreshable: true,
            };
            assert!(!scope.allows(Permission::OtpDevicesRead), "{grant:?}");
            assert!(!scope.allows(Permission::OtpDevicesWrite), "{grant:?}");
            assert!(scope.allows(Permission::OrdersWrite), "{grant:?}");
            assert!(!grant.is_subset_of(ReadOnly), "{grant:?}");
            assert!(grant.is_subset_of(OrderFull), "{grant:?}");
            assert!(OrderSimple.is_subset_of(grant), "{grant:?}");
        }
        assert!(!OrderPos.is_subset_of(OrderMgmt) && !OrderMgmt.is_subset_of(OrderPos));
    }

    #[test]
    fn readonly_reads_and_writes_nothing() {
        let scope: LoginScope = "readonly".parse().unwrap();
        assert!(scope.allows(Permission::OtpDevicesRead));
        assert!(!scope.allows(Permission::OtpDevicesWrite));
        assert!(!scope.allows(Permission::TokenRefresh));
    }

    #[test]
    fn write_is_all_under_another_name() {
        assert!(LoginGrant::Write.is_subset_of(LoginGrant::All));
        assert!(LoginGrant::All.is_subset_of(LoginGrant::Write));
        assert_eq!("write".parse::<LoginScope>().unwrap().to_string(), "write");
    }

    #[test]
    fn only_a_refreshable_scope_issues() {
        let scope = |text: &str| text.parse::<LoginScope>().unwrap();
        assert!(scope("all:refreshable").may_issue(scope("readonly:refreshable")));
        assert!(!scope("all").may_issue(scope("readonly")));
        assert!(!scope("readonly:refreshable").may_issue(scope("order-simple")));
    }

    #[test]
    fn unknown_names_and_suffixes_are_refused() {
        for wrong in [
            "",
            "spa",
            "all:",
            "all:refresh",
            "all:refreshable:",
            ":refreshable",
            " all",
            "all ",
        ] {
            assert!(wrong.parse::<LoginScope>().is_err(), "{wrong:?}");
        }
        assert_eq!(
            "OrderSimple".parse::<LoginScope>(),
            Err(AuthError::unknown_scope("OrderSimple", KNOWN))
        );
        assert_eq!(
            "READONLY:Refreshable"
                .parse::<LoginScope>()
                .unwrap()
                .to_string(),
            "readonly:refreshable"
        );
    }

    proptest! {
        #[test]
        fn subset_means_permission_by_permission(a in grant(), b in grant()) {
            let allows = |grant, permission| LoginScope { grant, refreshable: false }.allows(permission);
            let each = PERMISSIONS.iter().all(|p| !allows(a, *p) || allows(b, *p));
            prop_assert_eq!(a.is_subset_of(b), each);
        }

        #[test]
        fn a_chain_of_refreshes_never_gains(a in grant(), b in grant(), c in grant()) {
            let refreshable = |grant| LoginScope { grant, refreshable: true };
            if refreshable(a).may_issue(refreshable(b)) && refreshable(b).may_issue(refreshable(c)) {
                prop_assert!(refreshable(a).may_issue(refreshable(c)));
            }
        }

        #[test]
        fn text_round_trips(grant in grant(), refreshable: bool) {
            let scope = LoginScope { grant, refreshable };
            prop_assert_eq!(scope.to_string().parse(), Ok(scope));
        }
    }
}
