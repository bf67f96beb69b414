//! CRLs: arbitrary ones, and one that revokes a leaf, edited and signed again. RustCrypto's x509-cert parses them too: a leaf that
//! it finds on the CRL is never accepted.

use std::sync::LazyLock;

use keyproof_x509::{
    Certificate, Outcome, Serial, X509Error, algorithms,
    crl::{Crl, CrlReason, RevocationList, Revoked},
    path::{CertificatePool, PathCheck, PathOptions, PathReport, TrustAnchors, find},
    prover::{PrivateKey, RingSigner, Signer},
};
use ring::rand::SystemRandom;
use x509_cert::{crl::CertificateList, der::Decode};

use crate::{
    pairs::{ED25519_CA, ED25519_KEY, ED25519_LEAF, NOW, edited},
    report::sound,
};

/// Byte 0 selects whether the rest is an arbitrary CRL, or edits of a valid one.
pub fn crl(data: &[u8]) {
    match data {
        [what, list @ ..] if what % 2 == 0 => read(list),
        [_, edits @ ..] => signed_anew(edits),
        [] => {}
    }
}

fn read(data: &[u8]) {
    let crl = match Crl::from_der(data) {
        Ok(crl) => crl,
        Err(X509Error::Malformed { at, .. }) => {
            assert!(at <= data.len(), "{at} in {} bytes", data.len());
            return;
        }
        Err(_) => return,
    };
    assert_eq!(crl.as_der(), data);
    // A CRL may name nobody (RFC 5280 section 5.1.2.3 forbids it): then it is no CA's.
    assert_eq!(crl.issuer().is_empty(), crl.issuer().to_string().is_empty());
    let number = crl.number();
    assert!(
        number.is_none_or(|number| number.cmp(number).is_eq() && !number.to_string().is_empty())
    );
    assert!(!format!("{crl:?}").is_empty());
    for revocation in crl.revocations() {
        let found = crl.find(revocation.serial).expect("it is listed");
        assert_eq!(found.serial, revocation.serial);
    }
    let serials = || {
        crl.revocations()
            .iter()
            .map(|entry| entry.serial.as_bytes())
    };
    assert!(serials().is_sorted());
    if let Ok(theirs) = <CertificateList>::from_der(data) {
        let theirs = theirs.tbs_cert_list;
        let listed = theirs.revoked_certificates.map_or(0, |listed| listed.len());
        assert_eq!(listed, serials().count());
        let made = theirs.this_update.to_unix_duration().as_secs();
        assert_eq!(i64::try_from(made).ok(), Some(crl.this_update()));
        let due = theirs
            .next_update
            .map(|due| due.to_unix_duration().as_secs());
        assert_eq!(
            due.map(i64::try_from).and_then(Result::ok),
            crl.next_update()
        );
    }
    let mut longer = data.to_vec();
    longer.push(0);
    assert!(Crl::from_der(&longer).is_err());
    longer.truncate(data.len() - 1);
    assert!(Crl::from_der(&longer).is_err());
    judge(&crl);
}

fn signer<R>(then: impl FnOnce(&Certificate<'_>, &dyn Signer) -> R) -> R {
    let ca = Certificate::from_der(ED25519_CA).expect("a sound CA");
    let random = SystemRandom::new();
    let key = PrivateKey::from_pem_or_der(ED25519_KEY).expect("a sound key");
    let signer = RingSigner::new(&key, &ca, &random).expect("the CA's key");
    then(&ca, &signer)
}

/// A CRL that revokes the leaf and another certificate.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let leaf = Certificate::from_der(ED25519_LEAF).expect("a sound leaf");
    let revoked = [
        Revoked {
            serial: Serial::from_bytes(&[0x12, 0x34]).expect("a positive number"),
            since: NOW - 100,
            reason: None,
        },
        Revoked {
            serial: leaf.serial(),
            since: NOW - 100,
            reason: Some(CrlReason::CertificateHold),
        },
    ];
    signer(|ca, signer| {
        let list = RevocationList {
            ca,
            number: 7,
            this_update: NOW - 100,
            next_update: NOW + 100,
            revoked: &revoked,
        };
        list.sign(signer, algorithms::RING).expect("a sound list")
    })
});

/// A CRL from the future that revokes nothing.
static AHEAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    signer(|ca, signer| {
        let list = RevocationList {
            ca,
            number: 1 << 32,
            this_update: NOW + 100,
            next_update: NOW + 200,
            revoked: &[],
        };
        list.sign(signer, algorithms::RING).expect("a sound list")
    })
});

fn signed_anew(edits: &[u8]) {
    let sound = Crl::from_der(&SOUND).expect("a sound list");
    let tbs = edited(sound.tbs(), edits);
    let signature = signer(|_, signer| signer.sign(&tbs)).expect("Ed25519 signs anything");
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70];
    let rest = [&algorithm[..], &[0x03, 0x41, 0x00], &signature].concat();
    let length = u16::try_from(tbs.len() + rest.len()).unwrap_or(u16::MAX);
    let der = [&[0x30, 0x82][..], &length.to_be_bytes(), &tbs, &rest].concat();
    let Ok(crl) = Crl::from_der(&der) else {
        return;
    };
    // If revocation was checked, the CRL was taken for one of the leaf's issuer and was accepted. The scope that the CRL declares
    // does not change which entries it has.
    let judged = judge(&crl);
    let leaf = Certificate::from_der(ED25519_LEAF).expect("a sound leaf");
    let is_by_its_issuer = crl.issuer().as_der() == leaf.issuer().as_der();
    if (is_by_its_issuer || judged != Some(Outcome::NotRequested))
        && let Ok(list) = <CertificateList>::from_der(&der)
    {
        let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        let is_listed = revoked
            .iter()
            .any(|entry| entry.serial_number.as_bytes() == leaf.serial().as_bytes());
        assert_eq!(is_listed, crl.find(leaf.serial()).is_some());
        assert!(!is_listed || judged.is_none());
    }
    // A revocation persists beside a CRL that is not valid yet.
    if judged.is_none() {
        let ahead = Crl::from_der(&AHEAD).expect("a sound list");
        for lists in [[crl.clone(), ahead.clone()], [ahead, crl]] {
            assert!(!found(&lists, false).accepted());
        }
    }
}

/// Returns the outcome of the revocation check for the valid leaf, or `None` if the path was refused.
fn judge(crl: &Crl<'_>) -> Option<Outcome> {
    let crls = std::slice::from_ref(crl);
    let report = found(crls, false);
    let outcome = report.checks().outcome(PathCheck::Revocation);
    assert_eq!(report.accepted(), !outcome.refuses(), "{report}");
    // If CRLs are required, the leaf was looked up or is refused.
    let required = found(crls, true);
    assert_eq!(required.accepted(), outcome == Outcome::Pass, "{report}");
    report.accepted().then_some(outcome)
}

/// Validates the path of the valid leaf.
fn found(crls: &[Crl<'_>], require_crls: bool) -> PathReport {
    let leaf = Certificate::from_der(ED25519_LEAF).expect("a sound leaf");
    let mut options = PathOptions::new(algorithms::RING, NOW);
    options.crls = crls;
    options.require_crls = require_crls;
    let report = find(
        &leaf,
        &CertificatePool::default(),
        &TrustAnchors::new(&[ED25519_CA]),
        &options,
    );
    sound(report.checks());
    report
}
