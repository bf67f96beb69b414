//! A store as it is after years: organisations, Taler instances and provisioning services, each of a fixed size. They are made by
//! the use cases themselves, so that every record has the same form and key as on a server.

use std::sync::Arc;

use keyproof_auth::operator::OperatorScopes;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp, pos::PosAlgorithm};
use keyproof_service::{
    Action, Clock, ManualClock, Principal, Service,
    access::NewOperatorToken,
    accounts::{NewUser, Role},
    certificates::{Precondition, ProvisioningService, Upload},
    otp_devices::{Caller, DeviceDetails, InstanceAdministrator, Lifetime, TokenRequest, Writing},
};
use keyproof_store::{Store, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::{
    Result,
    users::{self, STEP, command_line, enrol, origin, password, sent},
};

/// When the first district is made.
pub const START: Timestamp = Timestamp::from_secs(1_700_000_010);

/// The number of passwords that may wait to be hashed.
pub const QUEUE: usize = 4_096;

const USERS: usize = 50;
const DEVICES: usize = 50;
const CERTIFICATES: usize = 20;
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// An organisation of 50 users, each with an active key, an instance of 50 devices, and a provisioning service of 20 certificates.
/// Measurements find one of each through this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct District {
    /// The number in the names of the organisation, the instance and the service.
    pub number: usize,
    /// A user's name.
    pub user: String,
    /// The secret on that user's phone, in Base32.
    pub secret: String,
    /// A token for the instance.
    pub token: String,
}

/// Makes districts, each thirty seconds after the one before, as if that many things happened per second.
pub struct Founder {
    service: Arc<Service>,
    clock: Arc<ManualClock>,
    operator: String,
    certificate: Vec<u8>,
}

impl District {
    /// Returns the name of the instance.
    pub fn instance(&self) -> String {
        instance(self.number)
    }

    /// Returns the provisioning service.
    pub fn provisioning_service(&self) -> ProvisioningService {
        provisioning_service(self.number)
    }

    /// Returns the code that the user's phone displays.
    pub fn code(&self, now: Timestamp) -> Result<String> {
        let secret = Secret::from_base32(&self.secret, Base32Profile::Strict)?;
        let phone = Totp::new(&secret, Algorithm::Sha1, Digits::SIX);
        Ok(phone.code(now.as_secs()).to_string())
    }
}

/// Returns the name of one of an instance's devices.
pub fn device(number: usize) -> String {
    format!("till-{}", number % DEVICES)
}

/// Returns the name of one of a provisioning service's certificates.
pub fn certificate(number: usize) -> String {
    format!("root-{}", number % CERTIFICATES)
}

fn instance(number: usize) -> String {
    format!("shop{number}")
}

fn provisioning_service(number: usize) -> ProvisioningService {
    ProvisioningService {
        subscription: format!("subscription{}", number % 100),
        resource_group: "group".to_owned(),
        name: format!("hub{number}"),
    }
}

impl Founder {
    /// Starts with an operator's token for all provisioning services and the audit trail, whose text [`Self::operator`] returns.
    pub async fn start(store: Store, clock: Arc<ManualClock>) -> Result<Self> {
        let service = users::service(store, clock.clone(), QUEUE).await?;
        let new = NewOperatorToken {
            subject: "growth".to_owned(),
            scopes: OperatorScopes::parse(["audit", "certificates"])?,
            lifetime: None,
        };
        let issued = service.access.create(new, &command_line()).await?;
        let params = CertificateParams::new(Vec::<String>::new())?;
        let certificate = params.self_signed(&KeyPair::generate()?)?.der().to_vec();
        Ok(Self {
            service,
            clock,
            operator: issued.text.to_string(),
            certificate,
        })
    }

    /// Returns the text of the operator's token.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Makes `count` districts concurrently, numbered from `first`.
    pub async fn found(self: &Arc<Self>, first: usize, count: usize) -> Result<Vec<District>> {
        let mut tasks = JoinSet::new();
        for number in first..first + count {
            let founder = Arc::clone(self);
            tasks.spawn(async move { founder.district(number).await });
        }
        let districts = tasks.join_all().await.into_iter().collect();
        self.clock
            .advance(STEP * u32::try_from(count).unwrap_or(u32::MAX));
        districts
    }

    /// Removes expired records, as a server does once a minute.
    pub async fn clean_up(&self) -> Result<()> {
        while self.service.upkeep.remove_expired().await?.goes_on {}
        Ok(())
    }

    async fn district(self: Arc<Self>, number: usize) -> Result<District> {
        let mut tasks = JoinSet::new();
        for user in 0..USERS {
            let founder = Arc::clone(&self);
            tasks.spawn(async move { founder.user(number, user).await });
        }
        let token = self.devices(number).await?;
        self.certificates(number).await?;
        let mut first = None;
        for user in tasks.join_all().await {
            first = Some(user?);
        }
        let (user, secret) = first.ok_or("no user")?;
        Ok(District {
            number,
            user,
            secret,
            token,
        })
    }

    /// Makes a user with an active key. Returns the name and the secret on the phone.
    async fn user(&self, district: usize, number: usize) -> Result<(String, String)> {
        let new = NewUser {
            name: format!("user{number}@organisation{district}.example"),
            organisation: format!("organisation{district}"),
            role: Role::User,
        };
        let (secret, _) = enrol(&self.service, &new, self.clock.now()).await?;
        Ok((new.name, secret))
    }

    /// Makes an instance with its devices, and returns a token for it.
    async fn devices(&self, district: usize) -> Result<String> {
        let devices = &self.service.otp_devices;
        let (instance, anonymous) = (instance(district), origin(Principal::Anonymous));
        let root = command_line();
        let administrator = InstanceAdministrator::of_command_line(&root, &instance);
        devices.add_instance(&administrator, password()).await?;
        let issuer = devices
            .log_in(&instance, &instance, password(), &anonymous)
            .await?;
        let request = TokenRequest {
            scope: "all".parse()?,
            lifetime: Lifetime::Forever,
            description: None,
        };
        let token = devices.issue(&issuer, &request).await?.text;
        let caller: Caller<Writing> = devices
            .permit(&instance, Some(&token), None, &anonymous)
            .await?;
        for number in 0..DEVICES {
            let details = DeviceDetails {
                id: device(number),
                description: format!("the till at door {number}"),
                key: Zeroizing::new(KEY.to_owned()),
                algorithm: PosAlgorithm::TotpWithoutPrice,
                counter: None,
            };
            devices.add_device(&caller, &details).await?;
        }
        Ok(token.to_string())
    }

    async fn certificates(&self, district: usize) -> Result<()> {
        let certificates = &self.service.certificates;
        let operator = self.service.access.authenticate(&self.operator).await?;
        let anonymous = origin(Principal::Anonymous);
        for number in 0..CERTIFICATES {
            let name = certificate(number);
            let caller = certificates.permit(
                &operator,
                Action::CertificatePut,
                provisioning_service(district),
                &name,
                &anonymous,
            );
            let upload = Upload {
                certificate: self.certificate.clone(),
                verified: Some(true),
            };
            certificates
                .put(&caller.await?, &name, &Precondition::Missing, sent(upload))
                .await?;
        }
        Ok(())
    }
}
