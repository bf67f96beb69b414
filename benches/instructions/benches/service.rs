//! A login's second step and a read of a device, through the use cases and an in-memory store, without sockets and disks. Time and
//! randomness are the same in each run, except for the signature of a login's access token, which varies the count by a few tenths
//! of a percent.

#![expect(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unused_qualifications,
    reason = "a benchmark that fails has nothing to count; gungraun's macros use absolute paths"
)]

use std::{
    hint::black_box,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gungraun::prelude::*;
use keyproof_auth::Cost;
use keyproof_otp::{Algorithm, Base32Profile, Digits, Secret, Totp, pos::PosAlgorithm};
use keyproof_service::{
    Action, AddressLimit, Clock, CommandLine, HashingSettings, ManualClock, Origin, Principal,
    Requester, Service,
    accounts::{FirstStep, NewUser, PasswordLogin, Role, Tokens},
    otp_devices::{
        Caller, DeviceDetails, DeviceView, InstanceAdministrator, Lifetime, Moment, Reading,
        TokenRequest, Writing,
    },
};
use keyproof_store::{Entropy, MasterKey, MasterKeys, Store, Timestamp, memory::MemoryEngine};
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

const START: Timestamp = Timestamp::from_secs(1_700_000_010);
const PASSWORD: &str = "correct horse";
const USER: &str = "ada";
const INSTANCE: &str = "shop";
const DEVICE: &str = "till-1";
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// A counter in place of randomness.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            let next = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            for (byte, drawn) in chunk.iter_mut().zip(next.to_be_bytes()) {
                *byte = drawn;
            }
        }
    }
}

fn origin(who: Principal) -> Origin {
    Origin {
        who,
        request_id: None,
        address: None,
        requester: Requester::default(),
        warrants: Vec::new(),
    }
}

/// The use cases on an in-memory store, with a runtime of one thread.
struct Site {
    runtime: Runtime,
    service: Arc<Service>,
    clock: Arc<ManualClock>,
}

impl Site {
    fn start() -> Self {
        let runtime = Builder::new_current_thread()
            .build()
            .expect("a runtime of this thread");
        let clock = Arc::new(ManualClock::new(START));
        let entropy = Arc::new(Counting(AtomicU64::new(1)));
        let keys = MasterKeys::new(&MasterKey::from_bytes(&[7; 32]).expect("32 bytes"));
        let hashing = HashingSettings {
            cost: Cost::insecure_for_tests(8, 1, 1).expect("costs in range"),
            threads: NonZeroUsize::MIN,
            queue: 1,
            address_limit: AddressLimit::NONE,
        };
        let service = runtime.block_on(async {
            let engine = Arc::new(MemoryEngine::new());
            let store = Store::open(engine, keys, entropy, START).await;
            Service::start(store.expect("a store"), clock.clone(), hashing).await
        });
        Self {
            runtime,
            service: service.expect("the use cases"),
            clock,
        }
    }
}

// --- a login ---

/// Returns a user with an active key whose password has been accepted: the challenge's token, and the code that answers it.
fn challenged() -> (Site, Zeroizing<String>, String) {
    let site = Site::start();
    let accounts = &site.service.accounts;
    let root = CommandLine::of("root".to_owned());
    let password = || Zeroizing::new(PASSWORD.to_owned());
    let login = || PasswordLogin {
        name: USER.to_owned(),
        password: password(),
        fingerprint: None,
    };
    let (token, phone) = site.runtime.block_on(async {
        let new = NewUser {
            name: USER.to_owned(),
            organisation: "org".to_owned(),
            role: Role::User,
        };
        let added = accounts.add_user(&new, password(), &root).await;
        added.expect("a new user");
        let anonymous = origin(Principal::Anonymous);
        let step = accounts.login(login(), &anonymous).await;
        let Ok(FirstStep::Authenticated(tokens)) = step else {
            panic!("no key yet");
        };
        let session = accounts
            .session(Some(&tokens.access), [127, 0, 0, 1].into())
            .await
            .expect("a session");
        let person = async |act| {
            let person = accounts.person(session.clone(), act, &anonymous).await;
            person.expect("the user")
        };
        let adding = person(Action::MfaKeyAdd).await;
        let enrolled = accounts.enrol_key(&adding, sent(password())).await;
        let enrolled = enrolled.expect("a key");
        let secret = Secret::from_base32(&enrolled.secret, Base32Profile::Strict);
        let phone = Totp::new(&secret.expect("a secret"), Algorithm::Sha1, Digits::SIX);
        let code = phone.code(START.as_secs()).to_string();
        let activating = person(Action::MfaKeyActivate).await;
        let activated = accounts
            .activate_key(&activating, enrolled.key.id, sent(Zeroizing::new(code)))
            .await;
        assert!(activated.is_ok(), "an active key");
        site.clock.advance(Duration::from_secs(30));
        let Ok(FirstStep::Challenged(token)) = accounts.login(login(), &anonymous).await else {
            panic!("an active key");
        };
        (token, phone)
    });
    let code = phone.code(site.clock.now().as_secs()).to_string();
    (site, token, code)
}

fn sent<T>(body: T) -> Result<T, std::convert::Infallible> {
    Ok(body)
}

// The code that answers a challenge is read, checked and committed, with the audit event, a refresh token and a signed access
// token.
#[library_benchmark]
#[bench::second_step(challenged())]
fn service_login((site, token, code): (Site, Zeroizing<String>, String)) -> (Site, Tokens) {
    let origin = origin(Principal::Anonymous);
    let answered = site
        .runtime
        .block_on(site.service.accounts.answer_challenge(
            black_box(&token),
            black_box(&code),
            None,
            &origin,
        ));
    (site, answered.expect("the right code"))
}

// --- a read ---

/// Returns an instance's device, and a token that may read it.
fn device() -> (Site, Zeroizing<String>) {
    let site = Site::start();
    let devices = &site.service.otp_devices;
    let token = site.runtime.block_on(async {
        let password = || Zeroizing::new(PASSWORD.to_owned());
        let root = CommandLine::of("root".to_owned());
        let administrator = InstanceAdministrator::of_command_line(&root, INSTANCE);
        let added = devices.add_instance(&administrator, password()).await;
        added.expect("a new instance");
        let anonymous = origin(Principal::Anonymous);
        let issuer = devices
            .log_in(INSTANCE, INSTANCE, password(), &anonymous)
            .await
            .expect("the password");
        let request = TokenRequest {
            scope: "all".parse().expect("a scope"),
            lifetime: Lifetime::Forever,
            description: None,
        };
        let token = devices.issue(&issuer, &request).await.expect("a token");
        let caller: Caller<Writing> = devices
            .permit(INSTANCE, Some(&token.text), None, &anonymous)
            .await
            .expect("a token of this instance");
        let details = DeviceDetails {
            id: DEVICE.to_owned(),
            description: "front till".to_owned(),
            key: Zeroizing::new(KEY.to_owned()),
            algorithm: PosAlgorithm::TotpWithoutPrice,
            counter: None,
        };
        let added = devices.add_device(&caller, &details).await;
        added.expect("a new device");
        token.text
    });
    (site, token)
}

// A device with its codes: the token is looked up and checked, and the key is unsealed.
#[library_benchmark]
#[bench::of_a_device(device())]
fn service_read((site, token): (Site, Zeroizing<String>)) -> (Site, DeviceView) {
    let origin = origin(Principal::Anonymous);
    let devices = &site.service.otp_devices;
    let caller: Caller<Reading> = site
        .runtime
        .block_on(devices.permit(INSTANCE, Some(black_box(&token)), Some(DEVICE), &origin))
        .expect("a token of this instance");
    let now = Moment {
        at: None,
        price: None,
    };
    let view = devices.device(&caller, sent(now)).expect("the device");
    assert!(view.codes.is_some(), "codes");
    (site, view)
}

library_benchmark_group!(name = service, benchmarks = [service_login, service_read]);

main!(library_benchmark_groups = service);
