//! A software TPM and tpm2-tools as peers: the TPM opens credentials of this crate, this crate
//! opens credentials of tpm2-tools, and accepts the TPM's quotes.
//!
//! A missing `swtpm` or tpm2-tools fails these tests; nothing is skipped.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a peer that does not answer fails the test"
)]

mod event_log_maker;
mod vectors;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use keyproof_tpm::{
    AttestationEvidence, AttestationKeyPolicy, AttestationPolicy, AttestationTemplate, AwsLcRs,
    Buffer, CertifyPolicy, CreationEvidence, CreationPolicy, Credential, DevIdKeyPolicy,
    EndorsementTemplate, EventLog, Finding, HashAlgorithm, Hierarchy, KeyProfile, Name,
    NvCertifyPolicy, ObjectParent, Outcome, QualifiedName, QuoteCheck, QuoteEvidence, QuotePolicy,
    Report, Structure, TimePolicy, TpmlPcrSelection, TpmsAttest, TpmsClockInfo, TpmsNvPublic,
    TpmtPublic, activate, algorithms, check_certify, check_creation, check_nv_certify, check_quote,
    check_time, make_credential,
};
use tempfile::TempDir;

use event_log_maker::LogMaker;

/// A key type in tpm2-tools' notation, and the expected properties.
struct Kind {
    ek: &'static str,
    ak: &'static str,
    template: &'static str,
    hash: HashAlgorithm,
    /// Whether the endorsement key is used with its policy, or with its empty authorisation value.
    by_policy: bool,
}

#[test]
fn rsa_2048() {
    exchange(&Kind {
        ek: "rsa",
        ak: "-G rsa -g sha256 -s rsassa",
        template: "L-1",
        hash: HashAlgorithm::Sha256,
        by_policy: true,
    });
}

#[test]
fn ecc_p256() {
    exchange(&Kind {
        ek: "ecc",
        ak: "-G ecc -g sha256 -s ecdsa",
        template: "L-2",
        hash: HashAlgorithm::Sha256,
        by_policy: true,
    });
}

#[test]
fn ecc_p384() {
    exchange(&Kind {
        ek: "ecc384",
        ak: "-G ecc384 -g sha384 -s ecdsa",
        template: "H-3",
        hash: HashAlgorithm::Sha384,
        by_policy: false,
    });
}

/// Runs the whole exchange between a verifier and one TPM.
fn exchange(kind: &Kind) {
    let tpm = Tpm::start();
    let Kind { ek, ak, .. } = kind;
    tpm.run(&format!("tpm2_createek -G {ek} -c ek.ctx -u ek.pub -f tss"));
    tpm.run(&format!(
        "tpm2_createak -C ek.ctx -c ak.ctx -u ak.pub -f tss -n ak.name -q ak.qname {ak}"
    ));
    let ek = TpmtPublic::parse_sized(&tpm.read("ek.pub")).unwrap();
    let ak = TpmtPublic::parse_sized(&tpm.read("ak.pub")).unwrap();

    names_agree(&tpm, kind, &ek, &ak);
    the_tpm_opens_our_credential(&tpm, kind, &ek, &Name::of(&ak).unwrap());
    the_tpms_quote_is_accepted(&tpm, kind, &ek, &ak);
}

fn names_agree(tpm: &Tpm, kind: &Kind, ek: &TpmtPublic, ak: &TpmtPublic) {
    assert_eq!(EndorsementTemplate::of(ek).unwrap().name(), kind.template);
    assert!(AttestationKeyPolicy::default().check(ak).accepted());
    assert_eq!(Name::of(ak).unwrap().as_bytes(), tpm.read("ak.name"));
    let qualified = QualifiedName::of_primary(Hierarchy::Endorsement, ek).unwrap();
    assert_eq!(
        qualified.of_child(ak).unwrap().as_bytes(),
        tpm.read("ak.qname")
    );

    // From the bare keys only.
    assert_eq!(
        TpmtPublic::endorsement_from_spki(&ek.to_spki().unwrap()).as_ref(),
        Ok(ek)
    );
    let template = AttestationTemplate {
        scheme_hash: kind.hash,
        ..AttestationTemplate::below(ek).unwrap()
    };
    let assumed = TpmtPublic::attestation_from_spki(&ak.to_spki().unwrap(), &template);
    assert_eq!(assumed.as_ref(), Ok(ak));
}

fn the_tpm_opens_our_credential(tpm: &Tpm, kind: &Kind, ek: &TpmtPublic, name: &Name) {
    // The longest secret that the TPM returns, and the shortest.
    for size in [kind.hash.digest_size(), 1] {
        let secret = vec![0x5a; size];
        let mut random = {
            let random = ring::rand::SystemRandom::new();
            move |bytes: &mut [u8]| ring::rand::SecureRandom::fill(&random, bytes)
        };
        let credential = make_credential(&AwsLcRs, ek, name, &secret, &mut random).unwrap();
        tpm.write("cred.blob", &credential.to_bytes());
        let activate = "tpm2_activatecredential -c ak.ctx -C ek.ctx -i cred.blob -o opened";
        if kind.by_policy {
            tpm.run("tpm2_startauthsession --policy-session -S s.ctx");
            tpm.run("tpm2_policysecret -S s.ctx -c e");
            tpm.run(&format!("{activate} -P session:s.ctx"));
            tpm.run("tpm2_flushcontext s.ctx");
        } else {
            tpm.run(activate);
        }
        assert_eq!(tpm.read("opened"), secret);
    }
}

fn the_tpms_quote_is_accepted(tpm: &Tpm, kind: &Kind, ek: &TpmtPublic, ak: &TpmtPublic) {
    let selection = "sha256:0,7,16+sha1:16";
    let weak: TpmlPcrSelection = selection.parse().unwrap();
    tpm.run(&format!("tpm2_pcrextend 16:sha256={}", "7b".repeat(32)));
    let mut last_seen = None;
    for (selection, accepted) in [
        ("sha256:0,7,16", true),
        (selection, false),
        ("sha256:16", true),
    ] {
        let nonce = [0xc3; 20];
        let nonce_hex = "c3".repeat(20);
        let hash = kind.hash.name();
        tpm.run(&format!(
            "tpm2_quote -c ak.ctx -l {selection} -q {nonce_hex} -m attest -s signature -o values \
             -F values -g {hash}"
        ));
        let (attest, signature, values) = (
            tpm.read("attest"),
            tpm.read("signature"),
            tpm.read("values"),
        );
        let selection: TpmlPcrSelection = selection.parse().unwrap();
        let evidence = QuoteEvidence {
            attest: &attest,
            signature: &signature,
            pcr_values: Some(&values),
        };
        let mut policy = QuotePolicy::new(&nonce, &selection, algorithms::RING);
        policy.ek = Some(ek);
        policy.last_seen = last_seen;
        let report = check_quote(ak, &evidence, &policy).report;
        assert_eq!(report.accepted(), accepted, "{report}");
        if selection == weak {
            assert_eq!(
                report.outcome(QuoteCheck::WeakHashes),
                Outcome::Fail,
                "{report}"
            );
            assert_eq!(
                report.outcome(QuoteCheck::PcrDigest),
                Outcome::Pass,
                "{report}"
            );
        }
        last_seen = Some(TpmsAttest::parse(&attest).unwrap().clock_info);
    }
}

#[test]
fn rsassa_attests() {
    attests("rsa", "sha256", "rsassa");
}

#[test]
fn rsapss_attests() {
    attests("rsa", "sha256", "rsapss");
}

#[test]
fn ecdsa_p256_attests() {
    attests("ecc", "sha256", "ecdsa");
}

#[test]
fn ecdsa_p384_attests() {
    attests("ecc384", "sha384", "ecdsa");
}

/// Asserts that all checks pass, except those not requested and those that may warn.
#[track_caller]
fn accepted<F: Finding>(report: &Report<F>, warned: &[&str]) {
    assert!(report.accepted(), "{report}");
    for row in report.rows() {
        let may = match row.outcome {
            Outcome::Pass => true,
            Outcome::Warn => warned.contains(&row.name),
            Outcome::NotRequested => {
                ["reset-counters", "clock", "firmware-version"].contains(&row.name)
            }
            Outcome::Fail | Outcome::NotEvaluated => false,
        };
        assert!(may, "{report}");
    }
}

/// A TPM certifies a key, its creation, the time and an NV index. It quotes before and after an
/// extend and a reset.
fn attests(kind: &str, hash: &str, scheme: &str) {
    const NONCE: [u8; 20] = [0xc3; 20];
    let nonce_hex = "c3".repeat(20);
    let mut tpm = Tpm::start();
    tpm.run(&format!(
        "tpm2_createek -G {kind} -c ek.ctx -u ek.pub -f tss"
    ));
    tpm.run(&format!(
        "tpm2_createak -C ek.ctx -c ak.ctx -u ak.pub -f tss -G {kind} -g {hash} -s {scheme}"
    ));
    tpm.run("tpm2_createprimary -C o -G ecc -c srk.ctx");
    tpm.run("tpm2_readpublic -c srk.ctx -f tss -o srk.pub");
    let device = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
    tpm.run(&format!(
        "tpm2_create -C srk.ctx -G ecc -a {device} -u dev.pub -r dev.priv --creation-data creation \
         -t ticket -d creation.hash -q 0011 -l sha256:0,16"
    ));
    tpm.run("tpm2_load -C srk.ctx -u dev.pub -r dev.priv -c dev.ctx");
    let public = |file: &str| TpmtPublic::parse_sized(&tpm.read(file)).unwrap();
    let (ek, ak, srk, dev) = (
        public("ek.pub"),
        public("ak.pub"),
        public("srk.pub"),
        public("dev.pub"),
    );
    let ek_qualified = QualifiedName::of_primary(Hierarchy::Endorsement, &ek).unwrap();
    let ak_qualified = ek_qualified.of_child(&ak).unwrap();
    let srk_name = Name::of(&srk).unwrap();
    let srk_qualified = QualifiedName::of_primary(Hierarchy::Owner, &srk).unwrap();
    let parent = Some(ObjectParent::Object {
        name: &srk_name,
        qualified_name: &srk_qualified,
    });
    let policy = |nonce: Option<&'static [u8]>| {
        let mut policy = AttestationPolicy::without_nonce(algorithms::ALL);
        policy.nonce = nonce;
        policy.qualified_signer = Some(&ak_qualified);
        policy
    };
    let profile = || KeyProfile::DevId(DevIdKeyPolicy::default());
    let made = format!("-g {hash} --scheme {scheme} -f tss");
    let signed = || (tpm.read("attest"), tpm.read("signature"));
    let run = |line: &str| {
        let asked = format!("-q {nonce_hex} --attestation attest -o signature");
        tpm.run(&format!("{line} {made} {asked}"));
    };

    let certify = "tpm2_certify -c dev.ctx -C ak.ctx -o attest -s signature";
    tpm.run(&format!("{certify} {made}"));
    let (attest, signature) = signed();
    let evidence = AttestationEvidence {
        attest: &attest,
        signature: &signature,
    };
    let mut certify = CertifyPolicy::new(policy(None), &dev, profile());
    certify.parent = parent;
    accepted(
        &check_certify(&ak, evidence, &certify).report,
        &["extra-data"],
    );

    run("tpm2_certifycreation -C ak.ctx -c dev.ctx -d creation.hash -t ticket");
    let (attest, signature) = signed();
    let (creation_data, ticket) = (tpm.read("creation"), tpm.read("ticket"));
    let evidence = CreationEvidence {
        attestation: AttestationEvidence {
            attest: &attest,
            signature: &signature,
        },
        creation_data: creation_data.get(2..).unwrap(),
        ticket: Some(&ticket),
    };
    let mut creation = CreationPolicy::new(policy(Some(&NONCE)), &dev, profile());
    creation.parent = parent;
    creation.outside_info = Some(&[0x00, 0x11]);
    accepted(&check_creation(&ak, &evidence, &creation).report, &[]);

    run("tpm2_gettime -c ak.ctx");
    let (attest, signature) = signed();
    let evidence = AttestationEvidence {
        attest: &attest,
        signature: &signature,
    };
    let time = TimePolicy::new(policy(Some(&NONCE)));
    accepted(&check_time(&ak, evidence, &time).report, &[]);

    tpm.write("contents", b"what it holds");
    let attributes = "ownerread|authread|ownerwrite|authwrite";
    tpm.run(&format!(
        "tpm2_nvdefine -C o -s 13 -a {attributes} 0x1800001"
    ));
    tpm.run("tpm2_nvwrite -C o -i contents 0x1800001");
    run("tpm2_nvcertify -C ak.ctx -c o --size 5 --offset 5 0x1800001");
    let (attest, signature) = signed();
    let evidence = AttestationEvidence {
        attest: &attest,
        signature: &signature,
    };
    let index = TpmsNvPublic {
        nv_index: 0x0180_0001,
        name_alg: HashAlgorithm::Sha256,
        attributes: 0x2006_0006,
        auth_policy: Buffer::default(),
        data_size: 13,
    };
    let mut nv = NvCertifyPolicy::new(policy(Some(&NONCE)), &index);
    nv.contents = Some(b"it ho");
    nv.offset = 5;
    accepted(&check_nv_certify(&ak, evidence, &nv).report, &[]);

    tpm.run("tpm2_evictcontrol -C o -c ak.ctx 0x81010002");
    let mut last: Option<TpmsClockInfo> = None;
    let mut first = None;
    for step in ["as it starts", "extended", "reset"] {
        match step {
            "extended" => tpm.run(&format!("tpm2_pcrextend 16:sha256={}", "7b".repeat(32))),
            "reset" => tpm.reset(),
            _ => {}
        }
        tpm.run(&format!(
            "tpm2_quote -m attest -s signature -o values -F values -c 0x81010002 -l sha256:0,16 \
             -q {nonce_hex} -g {hash} --scheme {scheme}"
        ));
        let (attest, signature) = (tpm.read("attest"), tpm.read("signature"));
        let values = tpm.read("values");
        let selection = "sha256:0,16".parse().unwrap();
        let check = |last_seen| {
            let evidence = QuoteEvidence {
                attest: &attest,
                signature: &signature,
                pcr_values: Some(&values),
            };
            let mut policy = QuotePolicy::new(&NONCE, &selection, algorithms::ALL);
            policy.ek = Some(&ek);
            policy.last_seen = last_seen;
            check_quote(&ak, &evidence, &policy).report
        };
        accepted(&check(last), &["clock"]);
        let now = TpmsAttest::parse(&attest).unwrap().clock_info;
        if step == "reset" {
            let before: TpmsClockInfo = last.unwrap();
            assert_eq!(now.reset_count, before.reset_count + 1);
            assert_eq!(first.as_ref(), Some(&values), "the registers began anew");
            // A quote from before the reset is rejected once the TPM was seen after it.
            let after = TpmsClockInfo {
                reset_count: now.reset_count + 1,
                ..now
            };
            let report = check(Some(after));
            assert_eq!(report.outcome(QuoteCheck::ResetCounters), Outcome::Fail);
        } else if step == "extended" {
            assert_ne!(first.as_ref(), Some(&values));
        }
        first = first.or(Some(values.clone()));
        last = Some(now);
    }
}

/// The replay leads to the values that `tpm2_eventlog` computes, in each bank. (The log has no
/// events that are not extended: tpm2-tools 5.4 extends those, including the startup locality's.)
#[test]
fn tpm2_eventlog_replays_as_we_do() {
    let tpm = Tpm::folder_only();
    let banks = [
        HashAlgorithm::Sha1,
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
    ];
    let mut log = LogMaker::agile(&banks);
    log.boot(true);
    tpm.write("log", &log.bytes);
    let output = tpm.tool("tpm2_eventlog log").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, registers) = text.split_once("\npcrs:").unwrap();
    let read = EventLog::parse(&log.bytes).unwrap();
    let mut compared = 0;
    for bank in banks {
        let replay = read.replay(bank, 0).unwrap();
        let heading = format!("  {}:\n", bank.name());
        let (_, section) = registers.split_once(&heading).unwrap();
        for line in section.lines().take_while(|line| line.contains(" : 0x")) {
            let (index, value) = line.split_once(" : 0x").unwrap();
            let own = replay.value(index.trim().parse().unwrap()).unwrap();
            let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(own, value.trim(), "{bank} {line}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 9);
}

/// Fresh credentials of tpm2-tools, in addition to the vectors.
#[test]
fn what_tpm2_tools_makes_opens() {
    let tpm = Tpm::folder_only();
    for kind in ["rsa2048", "rsa3072", "rsa4096", "eccp256", "eccp384"] {
        let file = |suffix: &str| vectors::read("software", &format!("{kind}.{suffix}"));
        let ek = TpmtPublic::parse_sized(&file("ek.pub.tpm2b")).unwrap();
        let name = Name::parse(&file("name.bin")).unwrap();
        tpm.write("ek.pub", &file("ek.pub.tpm2b"));
        tpm.write("secret", b"a secret of 24 bytes ...");
        let make =
            format!("tpm2_makecredential -T none -u ek.pub -s secret -n {name} -o cred.blob");
        // tpm2-tools 5.4 omits leading zeros of an agreed coordinate, in one of 256 credentials.
        let opens = || {
            tpm.ask(&make);
            let credential = Credential::parse(&tpm.read("cred.blob")).unwrap();
            activate(&AwsLcRs, &ek, &file("ek.pkcs8.der"), &name, &credential)
        };
        let opened = opens().or_else(|_| opens());
        assert_eq!(**opened.unwrap(), *b"a secret of 24 bytes ...", "{kind}");
    }
}

/// A software TPM on two loopback ports, and a folder for its tools' files.
struct Tpm {
    folder: TempDir,
    swtpm: Option<Child>,
    tcti: String,
}

impl Tpm {
    fn folder_only() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            swtpm: None,
            tcti: "none".into(),
        }
    }

    fn start() -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut tpm = Self::folder_only();
            fs::create_dir(tpm.path("state")).unwrap();
            if tpm.power_on() {
                return tpm;
            }
            // Another process may have taken a port since it was chosen.
            assert!(Instant::now() < deadline, "swtpm does not answer");
        }
    }

    /// Starts the TPM on new ports. Returns whether it responds.
    fn power_on(&mut self) -> bool {
        self.power_off();
        let (server, control) = free_ports();
        let state = self.path("state");
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args([
                "--server",
                &format!("type=tcp,bindaddr=127.0.0.1,port={server}"),
            ])
            .args([
                "--ctrl",
                &format!("type=tcp,bindaddr=127.0.0.1,port={control}"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.swtpm = Some(swtpm.unwrap_or_else(|error| panic!("swtpm: {error}")));
        self.tcti = format!("swtpm:host=127.0.0.1,port={server}");
        self.answers()
    }

    fn power_off(&mut self) {
        if let Some(mut swtpm) = self.swtpm.take() {
            let _ = swtpm.kill();
            let _ = swtpm.wait();
        }
    }

    /// Shuts the TPM down in order, and starts it again.
    fn reset(&mut self) {
        self.ask("tpm2_shutdown -c");
        assert!((0..5).any(|_| self.power_on()), "swtpm does not answer");
    }

    fn answers(&mut self) -> bool {
        for _ in 0..100 {
            if !self.runs() {
                return false;
            }
            let mut ask = self.tool("tpm2_getcap properties-fixed");
            if ask.output().is_ok_and(|output| output.status.success()) {
                // If it has ended, another TPM took the port, and answered.
                return self.runs();
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    fn runs(&mut self) -> bool {
        let swtpm = self.swtpm.as_mut();
        swtpm.is_some_and(|swtpm| swtpm.try_wait().unwrap().is_none())
    }

    /// Runs a tool, then flushes the TPM's few slots, since there is no resource manager.
    fn run(&self, line: &str) {
        self.ask(line);
        self.ask("tpm2_flushcontext -t");
    }

    fn ask(&self, line: &str) {
        let output = self.tool(line).output();
        let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
    }

    /// Returns the command of a line, whose words are separated by spaces.
    fn tool(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", &self.tcti)
            .env("TSS2_LOG", "all+none");
        command
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path(file), bytes).unwrap();
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// Returns two free consecutive ports: tpm2-tools expects the control channel on the second. Both
/// are below the ephemeral range, so that no outgoing connection takes one before the TPM listens.
fn free_ports() -> (u16, u16) {
    loop {
        let drawn = RandomState::new().hash_one(());
        let port = 10_000 + u16::try_from(drawn % 22_000).unwrap();
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 1) {
            return (port, port + 1);
        }
    }
}
