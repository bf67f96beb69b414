//! Every action of the audit trail: its text, and the kinds of callers that can request it. A new action needs a line here and a
//! row in `DATA_MODEL.md`, which a test compares.

use std::fmt;

use super::Principal;

/// The domain of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Users and their second factors.
    Accounts,
    /// All domains.
    All,
    /// CA certificates.
    Certificates,
    /// TPM managers, categories and API keys, and devices.
    DeviceIdentity,
    /// Instances of OTP devices, their tokens and devices.
    OtpDevices,
}

/// The kinds of [`Principal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrincipalKind {
    /// [`Principal::Anonymous`].
    Anonymous,
    /// [`Principal::CommandLine`].
    CommandLine,
    /// [`Principal::External`].
    External,
    /// [`Principal::Instance`].
    Instance,
    /// [`Principal::Keyproof`].
    Keyproof,
    /// [`Principal::Operator`].
    Operator,
    /// [`Principal::Station`].
    Station,
    /// [`Principal::User`].
    User,
}

impl PrincipalKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Anonymous,
        Self::CommandLine,
        Self::External,
        Self::Instance,
        Self::Keyproof,
        Self::Operator,
        Self::Station,
        Self::User,
    ];

    /// Returns the kind of a caller.
    pub const fn of(who: &Principal) -> Self {
        match who {
            Principal::Anonymous => Self::Anonymous,
            Principal::CommandLine(_) => Self::CommandLine,
            Principal::External { .. } => Self::External,
            Principal::Instance { .. } => Self::Instance,
            Principal::Keyproof => Self::Keyproof,
            Principal::Operator { .. } => Self::Operator,
            Principal::Station { .. } => Self::Station,
            Principal::User { .. } => Self::User,
        }
    }

    /// Returns the word that the caller's text in the trail starts with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::CommandLine => "console",
            Self::External => "external",
            Self::Instance => "instance",
            Self::Keyproof => "keyproof",
            Self::Operator => "operator",
            Self::Station => "station",
            Self::User => "user",
        }
    }
}

macro_rules! actions {
    ($($domain:ident { $($action:ident = $name:literal by $($asker:ident)|+;)+ })+) => {
        /// An action. Its text never changes after its first release.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Action {
            $($(#[doc = concat!("`", $name, "`.")] $action,)+)+
        }

        impl Action {
            /// All actions, by domain.
            pub const ALL: &[Self] = &[$($(Self::$action,)+)+];

            /// Returns the action's text in the trail, as `thing.verb`.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$action => $name,)+)+ }
            }

            /// Returns the domain of the action.
            pub const fn domain(self) -> Domain {
                match self { $($(Self::$action)|+ => Domain::$domain,)+ }
            }

            /// Returns the kinds of callers that can request the action.
            pub const fn principal_kinds(self) -> &'static [PrincipalKind] {
                match self { $($(Self::$action => &[$(PrincipalKind::$asker),+],)+)+ }
            }
        }
    };
}

actions! {
    All {
        AuditLeaveOut = "audit.leave_out" by Keyproof;
        MasterKeyFinish = "master_key.finish" by CommandLine;
        MasterKeyPrepare = "master_key.prepare" by CommandLine;
        MasterKeySwitch = "master_key.switch" by CommandLine;
        OperatorSessionBegin = "operator_session.begin" by Anonymous | Operator;
        OperatorSessionConfirm = "operator_session.confirm" by Operator;
        OperatorSessionEnd = "operator_session.end" by Operator;
        OperatorSessionsEnd = "operator_session.end_all" by Operator;
        OperatorTokenCreate = "operator_token.create" by CommandLine;
        OperatorTokenRevoke = "operator_token.revoke" by CommandLine;
        StoreMove = "store.move" by CommandLine;
        StoreRestore = "store.restore" by CommandLine;
    }
    OtpDevices {
        InstanceAdd = "instance.add" by CommandLine | Keyproof | Operator;
        InstanceShow = "instance.show" by Operator;
        InstanceSetPassword = "instance.set_password" by CommandLine;
        InstanceRemove = "instance.remove" by CommandLine | Operator;
        LoginTokenIssue = "login_token.issue" by Anonymous | Instance;
        LoginTokenUse = "login_token.use" by Instance;
        LoginTokenRevoke = "login_token.revoke" by Instance;
        OtpDeviceAdd = "otp_device.add" by Instance | Operator;
        OtpDeviceChange = "otp_device.change" by Instance;
        OtpDeviceCheck = "otp_device.check" by Operator;
        OtpDeviceRemove = "otp_device.remove" by Instance | Operator;
        OtpDeviceShow = "otp_device.show" by Operator;
    }
    Certificates {
        CertificateCreate = "certificate.create" by External | Operator;
        CertificateUpdate = "certificate.update" by External | Operator;
        CertificatePut = "certificate.put" by External | Operator;
        CertificateGet = "certificate.get" by External | Operator;
        CertificateList = "certificate.list" by External | Operator;
        CertificateDelete = "certificate.delete" by External | Operator;
        CertificateGenerateCode = "certificate.generate_code" by External | Operator;
        CertificateVerify = "certificate.verify" by External | Operator;
    }
    DeviceIdentity {
        TpmManagerCreate = "tpm_manager.create" by Operator;
        TpmManagerReplace = "tpm_manager.replace" by Operator;
        TpmManagerDelete = "tpm_manager.delete" by Operator;
        TpmManagerGet = "tpm_manager.get" by Operator;
        TpmManagerList = "tpm_manager.list" by Operator;
        TpmCategoryCreate = "tpm_category.create" by Operator;
        TpmCategoryReplace = "tpm_category.replace" by Operator;
        TpmCategoryDelete = "tpm_category.delete" by Operator;
        TpmCategoryRenewCa = "tpm_category.renew_ca" by Keyproof;
        TpmCategoryRenewClient = "tpm_category.renew_client" by CommandLine | Operator;
        TpmCategoryEndClients = "tpm_category.end_clients" by CommandLine | Operator;
        TpmCategoryGet = "tpm_category.get" by Operator;
        TpmCategoryList = "tpm_category.list" by Operator;
        TpmApiKeyCreate = "tpm_api_key.create" by Operator;
        TpmApiKeyReplace = "tpm_api_key.replace" by Operator;
        TpmApiKeyDelete = "tpm_api_key.delete" by Operator;
        TpmApiKeyGet = "tpm_api_key.get" by Operator;
        TpmApiKeyList = "tpm_api_key.list" by Operator;
        TpmTrustAdd = "tpm_trust.add" by CommandLine;
        TpmTrustRemove = "tpm_trust.remove" by CommandLine;
        TpmPreauth = "tpm.preauth" by Anonymous | Operator | Station;
        TpmProvision = "tpm.provision" by Anonymous | Operator | Station;
        TpmActivate = "tpm.activate" by Anonymous | Operator | Station;
        TpmAttestNonce = "tpm.attest_nonce" by Operator | Station;
        TpmAttest = "tpm.attest" by Operator | Station;
        TpmDeviceForget = "tpm_device.forget" by CommandLine | Operator;
        TpmDeviceRelearn = "tpm_device.relearn" by CommandLine | Operator;
        TpmDeviceShow = "tpm_device.show" by Operator;
    }
    Accounts {
        UserAdd = "user.add" by CommandLine | Operator;
        UserForget = "user.forget" by CommandLine;
        UserRemove = "user.remove" by CommandLine;
        UserSuspend = "user.suspend" by CommandLine | Operator;
        UserActivate = "user.activate" by CommandLine | Operator;
        UserUnlock = "user.unlock" by CommandLine | Operator;
        UserSetPassword = "user.set_password" by CommandLine | User;
        UserAuthenticate = "user.authenticate" by Anonymous | User;
        UserChallenge = "user.challenge" by User;
        UserSessionEnd = "user_session.end" by User;
        UserSessionsEnd = "user_session.end_others" by User;
        UserSessionsEndAll = "user_session.end_all" by Operator;
        RefreshTokenUse = "refresh_token.use" by User;
        RefreshTokenRotate = "refresh_token.rotate" by User;
        SigningKeyEnd = "signing_key.end" by CommandLine;
        SigningKeyReplace = "signing_key.replace" by CommandLine;
        TrustedDeviceAdd = "trusted_device.add" by User;
        TrustedDeviceList = "trusted_device.list" by User;
        TrustedDeviceRemove = "trusted_device.remove" by User;
        MfaKeyAdd = "mfa_key.add" by User;
        MfaKeyActivate = "mfa_key.activate" by User;
        MfaKeyRemove = "mfa_key.remove" by Operator | User;
        RecoveryCodesMake = "recovery_codes.make" by User;
        ApplicationAuthenticate = "application.authenticate" by Anonymous | User;
        ApplicationTokenAdd = "application_token.add" by User;
        ApplicationTokenChange = "application_token.change" by User;
        ApplicationTokenRevoke = "application_token.revoke" by CommandLine | User;
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    type Rows = BTreeMap<String, (String, BTreeSet<&'static str>)>;

    /// Returns the actions in `DATA_MODEL.md`, each with the name of its domain and its callers.
    fn documented() -> Rows {
        let text = include_str!("../../../../DATA_MODEL.md");
        let (_, trail) = text.split_once("## The audit trail").unwrap();
        let (mut rows, mut domain) = (Rows::new(), String::new());
        for row in trail.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
            let (names, who) = (cells[0].trim(), cells[cells.len() - 1]);
            if let Some(name) = names.strip_prefix("**") {
                domain = name.trim_matches(['*', '`']).to_owned();
                continue;
            }
            let words: BTreeSet<_> = who
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .collect();
            let principal_kinds = PrincipalKind::ALL.map(PrincipalKind::name);
            let principal_kinds = principal_kinds
                .into_iter()
                .filter(|name| words.contains(name));
            for name in names.split(", ").filter_map(|name| name.strip_prefix('`')) {
                let row = rows.entry(name.trim_matches('`').to_owned());
                let row = row.or_insert_with(|| (domain.clone(), BTreeSet::new()));
                row.1.extend(principal_kinds.clone());
            }
        }
        rows
    }

    #[test]
    fn the_data_model_lists_every_action_with_its_domain_and_who_asks_for_it() {
        let domain = |action: Action| match action.domain() {
            Domain::Accounts => "accounts",
            Domain::All => "",
            Domain::Certificates => "certificates",
            Domain::DeviceIdentity => "device_identity",
            Domain::OtpDevices => "otp_devices",
        };
        let principal_kinds = |action: Action| {
            action
                .principal_kinds()
                .iter()
                .map(|asker| asker.name())
                .collect()
        };
        let listed = Action::ALL.iter().map(|action| {
            let row = (domain(*action).to_owned(), principal_kinds(*action));
            (action.name().to_owned(), row)
        });
        assert_eq!(listed.collect::<Rows>(), documented());
        assert_eq!(documented().len(), Action::ALL.len(), "each text is once");
    }
}
