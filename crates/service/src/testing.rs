//! Shared by the tests of the use cases: a store in memory, a manual clock, and deliberate races.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::poll_fn,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use keyproof_auth::{Cost, Token, operator::OperatorScopes, taler::LoginScope};
use keyproof_otp::pos::{Amount, PosAlgorithm};
use keyproof_store::{
    Change, Changes, Engine, Key, MasterKey, MasterKeys, Prefix, Raw, Record, Store, SystemEntropy,
    Timestamp, faults::FaultyEngine, memory::MemoryEngine,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::{
    Event as LogEvent, Level, Metadata, Subscriber, span,
    subscriber::{DefaultGuard, set_default},
};
use zeroize::Zeroizing;

use crate::{
    Action, AddressLimit, Clock, CommandLine, CpuQueue, Ended, Failure, HashingSettings,
    ManualClock, Origin, Principal, Requester, Restoring, Service, Settings, StorageError, TooBusy,
    access::{NewOperatorToken, Operator},
    audit::{AuditReader, Event, NewEvent, Target},
    otp_devices::{
        AddDeviceError, Caller, ChangeDeviceError, DeviceChange, DeviceDetails, DeviceSummary,
        DeviceView, InstanceAdministrator, Issuer, Lifetime, LoginError, Moment, NotPermitted,
        RemoveDeviceError, Right, ShowDeviceError, TokenRequest,
    },
};

/// The initial time of the tests' clock.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A password that is long enough.
pub(crate) const PASSWORD: &str = "correct horse";

/// The key of an OTP device, of 160 bits.
pub(crate) const DEVICE_KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// An operator who searches the audit trail.
pub(crate) static READER: AuditReader = AuditReader::unasked(String::new());

/// Asserts that a stored record is read as it was written, and not without this member.
#[track_caller]
pub(crate) fn assert_needs<R: Serialize + DeserializeOwned>(record: &R, member: &str) {
    let mut json = serde_json::to_value(record).unwrap();
    assert!(serde_json::from_value::<R>(json.clone()).is_ok());
    let removed = json.as_object_mut().unwrap().remove(member);
    assert!(removed.is_some(), "{member}");
    assert!(serde_json::from_value::<R>(json).is_err(), "{member}");
}

pub(crate) struct Bench {
    pub(crate) service: Arc<Service>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    pub(crate) faults: Arc<FaultyEngine>,
    keys: MasterKeys,
}

pub(crate) async fn bench() -> Bench {
    bench_with(|_| {}).await
}

/// Creates a bench with changed default settings.
pub(crate) async fn bench_with(change: impl FnOnce(&mut Settings)) -> Bench {
    let keys = MasterKeys::new(&MasterKey::generate(&SystemEntropy::new()));
    bench_on(MemoryEngine::new(), keys, START, change).await
}

/// Creates a bench on this engine.
async fn bench_on(
    inner: MemoryEngine,
    keys: MasterKeys,
    now: Timestamp,
    change: impl FnOnce(&mut Settings),
) -> Bench {
    let entropy = Arc::new(SystemEntropy::new());
    let faults = FaultyEngine::over(inner);
    let store = Store::open(faults.clone(), keys.clone(), entropy, now)
        .await
        .unwrap();
    let clock = Arc::new(ManualClock::new(now));
    let service = server(&store, clock.clone(), change).await;
    Bench {
        service,
        clock,
        store,
        faults,
        keys,
    }
}

/// Starts a server on this store.
async fn server(
    store: &Store,
    clock: Arc<ManualClock>,
    change: impl FnOnce(&mut Settings),
) -> Arc<Service> {
    let mut settings = Settings::from(cheap_hashing());
    change(&mut settings);
    let started = Service::start(store.clone(), clock, settings);
    started.await.unwrap()
}

pub(crate) fn cheap_hashing() -> HashingSettings {
    HashingSettings {
        cost: Cost::insecure_for_tests(8, 1, 1).unwrap(),
        threads: NonZeroUsize::MIN,
        queue: 64,
        address_limit: AddressLimit::NONE,
    }
}

/// A piece of work that has started and ends when released.
pub(crate) struct Occupied {
    release: mpsc::Sender<()>,
    work: JoinHandle<Result<(), TooBusy>>,
}

impl Occupied {
    pub(crate) async fn of(cpu_queue: &Arc<CpuQueue>) -> Self {
        let (release, released) = mpsc::channel();
        let (started, has_started) = oneshot::channel();
        let cpu_queue = Arc::clone(cpu_queue);
        let work = tokio::spawn(async move {
            let held = cpu_queue.run(move || {
                let _ = started.send(());
                let _ = released.recv();
            });
            held.await
        });
        has_started.await.unwrap();
        Self { release, work }
    }

    pub(crate) async fn end(self) {
        drop(self.release);
        assert_eq!(self.work.await.unwrap(), Ok(()));
    }

    /// Aborts the caller. The work ends when the returned sender is dropped.
    pub(crate) async fn abandon(self) -> mpsc::Sender<()> {
        self.work.abort();
        assert!(self.work.await.is_err());
        self.release
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        who: Principal::Anonymous,
        request_id: Some("0123".to_owned()),
        address: Some([127, 0, 0, 1].into()),
        requester: Requester::default(),
        warrants: Vec::new(),
    }
}

pub(crate) fn command_line() -> CommandLine {
    CommandLine::of("root".to_owned())
}

pub(crate) fn console() -> Origin {
    command_line().origin().clone()
}

/// Returns the rights of a command-line user for this instance.
pub(crate) fn administrator(instance: &str) -> InstanceAdministrator {
    InstanceAdministrator::of_command_line(&command_line(), instance)
}

pub(crate) fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

pub(crate) fn scope(text: &str) -> LoginScope {
    text.parse().unwrap()
}

/// Returns an OTP device to add.
pub(crate) fn otp_device(id: &str) -> DeviceDetails {
    DeviceDetails {
        id: id.to_owned(),
        description: "till".to_owned(),
        key: secret(DEVICE_KEY),
        algorithm: PosAlgorithm::TotpWithoutPrice,
        counter: None,
    }
}

/// Returns the error of a use case that refused for this reason.
pub(crate) const fn refusal<E>(why: E) -> Option<Failure<E>> {
    Some(Failure::Refused(why))
}

impl Bench {
    /// Polls a future until its read or commit of this number, counted from 1, is about to begin. Returns its output if it
    /// ends before.
    pub(crate) async fn until_step<F: Future>(
        &self,
        mut slow: Pin<&mut F>,
        number: usize,
    ) -> Option<F::Output> {
        self.faults.steps();
        let mut steps = 0;
        poll_fn(|context| {
            let polled = slow.as_mut().poll(context);
            steps += self.faults.steps();
            match polled {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if steps >= number => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Starts another server on the same store with the same clock.
    pub(crate) async fn another(&self, change: impl FnOnce(&mut Settings)) -> Arc<Service> {
        server(&self.store, self.clock.clone(), change).await
    }

    /// Starts another server whose clock is ahead.
    pub(crate) async fn another_ahead(&self, by: Duration) -> Arc<Service> {
        let ahead = self.clock.now().saturating_add(by);
        server(&self.store, Arc::new(ManualClock::new(ahead)), |_| {}).await
    }

    /// Restores the current records to another store after `later`, and returns what ended.
    pub(crate) async fn restored(&self, later: Duration) -> (Self, BTreeMap<Ended, u64>) {
        let entropy = SystemEntropy::new();
        let now = self.clock.now().saturating_add(later);
        let mut restoring = Restoring::new(now, &entropy);
        let engine = MemoryEngine::new();
        for raw in self.rows(&Prefix::all()).await {
            let (key, row) = raw.into_parts();
            if let Some((key, row)) = restoring.record(key, row).unwrap() {
                let insert = [(key, Change::Insert(row))];
                let changes = Changes::new(insert, Timestamp::EPOCH, &entropy).unwrap();
                engine.commit(changes).await.unwrap();
            }
        }
        let bench = bench_on(engine, self.keys.clone(), now, |_| {}).await;
        (bench, restoring.ended().clone())
    }

    /// Returns all records under a prefix, including expired ones.
    pub(crate) async fn rows(&self, prefix: &Prefix) -> Vec<Raw> {
        let epoch = Timestamp::EPOCH;
        let rows = self.store.scan_raw(prefix, None, usize::MAX, epoch).await;
        rows.unwrap()
    }

    /// Removes all records under a prefix.
    pub(crate) async fn remove(&self, prefix: &Prefix) {
        let mut batch = self.store.batch(self.clock.now());
        for raw in self.rows(prefix).await {
            batch.remove(raw.key(), raw.version());
        }
        self.store.commit(batch).await.unwrap();
    }

    /// Returns the text of a new operator token with this scope.
    pub(crate) async fn operator_token(&self, scope: &str) -> Zeroizing<String> {
        let new = NewOperatorToken {
            subject: "ops".to_owned(),
            scopes: OperatorScopes::parse([scope]).unwrap(),
            lifetime: None,
        };
        let access = &self.service.access;
        access.create(new, &command_line()).await.unwrap().text
    }

    /// Returns a new operator with this scope.
    pub(crate) async fn operator(&self, scope: &str) -> Operator {
        let token = self.operator_token(scope).await;
        self.service.access.authenticate(&token).await.unwrap()
    }

    /// Returns a token of a new instance.
    pub(crate) async fn token(&self, instance: &str, wanted: &str, lifetime: Lifetime) -> String {
        let issuer = self.logged_in(instance).await;
        let request = TokenRequest {
            scope: scope(wanted),
            lifetime,
            description: None,
        };
        let issued = self.service.otp_devices.issue(&issuer, &request).await;
        issued.unwrap().text.to_string()
    }

    /// Turns a token into one of an earlier release without a time: another text for the same record.
    pub(crate) async fn token_of_before<R: Record>(&self, tenant: &str, text: &str) -> String {
        let (new, old) = (Token::parse(text).unwrap(), Token::from_random([7; 32]));
        let place = crate::keys::token_key(R::TYPE, tenant, &new);
        let now = self.clock.now();
        let stored = self.store.get::<R>(&place, now).await.unwrap().unwrap();
        let mut batch = self.store.batch(now);
        batch.remove(&place, stored.version);
        let place = Key::new(R::TYPE, [tenant, &old.digest().to_string()]);
        batch.insert(&place, &stored.record, stored.expires_at);
        self.store.commit(batch).await.unwrap();
        old.text().to_string()
    }

    /// Returns the token's text with other times, and one without a time.
    pub(crate) fn at_other_times(text: &str) -> Vec<String> {
        let token = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let (time, random) = token.split_at(7);
        let mut near = time.to_vec();
        near[6] ^= 1;
        let times = [&near[..], &[0; 7], &[0xff; 7], &[]];
        let texts = times.map(|time| BASE64URL_NOPAD.encode(&[time, random].concat()));
        texts.into()
    }

    /// Returns the holder of a token that allows everything, for a new instance.
    pub(crate) async fn session(&self, instance: &str) -> Holder {
        Holder {
            token: self.token(instance, "all", Lifetime::Forever).await,
            service: Arc::clone(&self.service),
            instance: instance.to_owned(),
        }
    }

    /// Logs in to an instance, which is created if it does not exist.
    pub(crate) async fn logged_in(&self, instance: &str) -> Issuer {
        let devices = &self.service.otp_devices;
        if !devices.has_instance(instance).await.unwrap() {
            let administrator = administrator(instance);
            let added = devices.add_instance(&administrator, secret(PASSWORD));
            added.await.unwrap();
        }
        let logged_in = self.log_in(instance, instance, PASSWORD).await;
        logged_in.unwrap()
    }

    /// Logs in to an instance by name and password.
    pub(crate) async fn log_in(
        &self,
        instance: &str,
        user_name: &str,
        password: &str,
    ) -> Result<Issuer, Failure<LoginError>> {
        let devices = &self.service.otp_devices;
        let (password, origin) = (secret(password), origin());
        devices.log_in(instance, user_name, password, &origin).await
    }

    /// Sets the password of an instance.
    pub(crate) async fn set_password(&self, instance: &str, password: &str) {
        let (devices, administrator) = (&self.service.otp_devices, administrator(instance));
        let set = devices.set_password(&administrator, secret(password)).await;
        set.unwrap();
    }

    /// Returns what a token of an instance permits.
    pub(crate) async fn permitted<R: Right>(
        &self,
        instance: &str,
        token: &str,
    ) -> Result<Caller<R>, Failure<NotPermitted>> {
        let devices = &self.service.otp_devices;
        devices.permit(instance, Some(token), None, &origin()).await
    }

    /// Adds so many events of changes to the audit trail, with a client's address.
    pub(crate) async fn tell(&self, count: u32) {
        let (now, origin) = (self.clock.now(), origin().by(Principal::Keyproof));
        let mut batch = self.store.batch(now);
        for number in 0..count {
            let new_event = NewEvent {
                action: Action::AuditLeaveOut,
                target: Target::Instance(number.to_string()),
                detail: None,
                origin: &origin,
            };
            self.service.audit.done(&mut batch, now, new_event);
        }
        self.store.commit(batch).await.unwrap();
    }

    /// Returns how often an action is in the audit trail.
    pub(crate) async fn times(&self, action: Action) -> usize {
        let actions = self.actions().await;
        actions.iter().filter(|told| *told == action.name()).count()
    }

    /// Returns the actions in the audit trail, in order.
    pub(crate) async fn actions(&self) -> Vec<String> {
        let events = self.events().await.into_iter();
        events.map(|event| event.action).collect()
    }

    /// Returns the events in the audit trail, in order.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let events = self.service.audit.events(Timestamp::EPOCH, None).await;
        let events = events.unwrap().into_iter();
        events.map(|(_, event)| event).collect()
    }
}

/// The holder of a token, who presents it for every request.
pub(crate) struct Holder {
    service: Arc<Service>,
    instance: String,
    token: String,
}

impl Holder {
    pub(crate) async fn caller<R: Right>(&self, device: Option<&str>) -> Caller<R> {
        let devices = &self.service.otp_devices;
        let permitted = devices
            .permit(&self.instance, Some(&self.token), device, &origin())
            .await;
        permitted.unwrap()
    }

    pub(crate) async fn add(&self, details: &DeviceDetails) -> Result<(), Failure<AddDeviceError>> {
        let devices = &self.service.otp_devices;
        devices.add_device(&self.caller(None).await, details).await
    }

    pub(crate) async fn change(
        &self,
        id: &str,
        change: DeviceChange,
    ) -> Result<(), Failure<ChangeDeviceError<Infallible>>> {
        let devices = &self.service.otp_devices;
        let caller = self.caller(None).await;
        devices.change_device(&caller, id, Ok(change)).await
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), Failure<RemoveDeviceError>> {
        let devices = &self.service.otp_devices;
        devices.remove_device(&self.caller(None).await, id).await
    }

    pub(crate) async fn list(&self) -> Result<Vec<DeviceSummary>, StorageError> {
        let devices = &self.service.otp_devices;
        devices.devices(&self.caller(None).await).await
    }

    pub(crate) async fn show(
        &self,
        id: &str,
        at: Option<u64>,
        price: Option<Amount>,
    ) -> Result<DeviceView, Failure<ShowDeviceError<Infallible>>> {
        let devices = &self.service.otp_devices;
        let caller = self.caller(Some(id)).await;
        devices.device(&caller, Ok(Moment { at, price }))
    }
}

/// Counts the warnings of the module whose path ends like this.
pub(crate) struct Warnings(&'static str, Arc<AtomicUsize>);

impl Warnings {
    /// Counts those of this thread until the guard is dropped.
    pub(crate) fn counted(module: &'static str) -> (Arc<AtomicUsize>, DefaultGuard) {
        let count = Arc::<AtomicUsize>::default();
        let guard = set_default(Self(module, Arc::clone(&count)));
        (count, guard)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        *of.level() == Level::WARN && of.target().ends_with(self.0)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &LogEvent<'_>) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
