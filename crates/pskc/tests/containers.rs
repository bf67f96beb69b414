//! Containers: the figures of RFC 6030, rejected documents, and the order of the checks.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports by a panic"
)]

use keyproof_pskc::{
    Cipher, Container, DecryptionKey, Encoding, Key, KeyInfo, KeyUsage, MacAlgorithm, PinUsage,
    PskcError, ResponseFormat, Secret,
};
use proptest::prelude::*;

/// RFC 6030 figure 6: the pre-shared key.
const PRE_SHARED: [u8; 16] = [
    0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12,
];
const SECRET: &[u8] = b"12345678901234567890";

/// Builds a container of one key with these parts.
fn container(protection: &str, data: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"
    xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">
  {protection}
  <KeyPackage>
    <DeviceInfo><Manufacturer>Manufacturer</Manufacturer><SerialNo>987654321</SerialNo></DeviceInfo>
    <CryptoModuleInfo><Id>CM_ID_001</Id></CryptoModuleInfo>
    <Key Id="12345678" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
      <Issuer>Issuer</Issuer>
      <AlgorithmParameters><ResponseFormat Length="8" Encoding="DECIMAL"/></AlgorithmParameters>
      {data}
    </Key>
  </KeyPackage>
</KeyContainer>"#
    )
}

fn encrypted(algorithm: &str, value: &str) -> String {
    format!(
        r#"<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#{algorithm}"/>
        <xenc:CipherData><xenc:CipherValue>
          {value}
        </xenc:CipherValue></xenc:CipherData>"#
    )
}

/// The values of RFC 6030 figure 6.
const MAC_KEY: &str = "ESIzRFVmd4iZABEiM0RVZgKn6WjLaTC1sbeBMSvIhRejN9vJa2BOlSaMrR7I5wSX";
const CIPHER_VALUE: &str = "AAECAwQFBgcICQoLDA0OD+cIHItlB3Wra1DUpxVvOx2lef1VmNPCMl8jwZqIUqGv";
const VALUE_MAC: &str = "Su+NvtQfmvfJzF6bmQiJqoLRExc=";

fn mac_method(key: &str) -> String {
    format!(
        r#"<EncryptionKey><ds:KeyName>Pre-shared-key</ds:KeyName></EncryptionKey>
        <MACMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1">{key}</MACMethod>"#
    )
}

fn figure_6() -> String {
    let key = encrypted("aes128-cbc", MAC_KEY);
    container(
        &mac_method(&format!("<MACKey>{key}</MACKey>")),
        &secret_of_figure_6(CIPHER_VALUE, VALUE_MAC),
    )
}

fn secret_of_figure_6(value: &str, mac: &str) -> String {
    let value = encrypted("aes128-cbc", value);
    format!(
        "<Data><Secret><EncryptedValue>{value}</EncryptedValue><ValueMAC>{mac}</ValueMAC></Secret>
        <Counter><PlainValue>0</PlainValue></Counter></Data>"
    )
}

fn only(keys: Vec<Key>) -> Key {
    let [key] = <[Key; 1]>::try_from(keys).unwrap_or_else(|keys| panic!("{} keys", keys.len()));
    key
}

fn open(document: &str, unlock: DecryptionKey<'_>) -> Result<Key, PskcError> {
    Container::parse(document)?.open(unlock).map(only)
}

fn secret_of(key: &Key) -> &[u8] {
    key.data.secret.as_ref().unwrap().as_bytes()
}

fn plain(data: &str) -> String {
    container("", &format!("<Data>{data}</Data>"))
}

/// RFC 6030 figures 2 and 3.
#[test]
fn plain_keys() {
    let document = r#"<?xml version="1.0" encoding="UTF-8"?>
<KeyContainer Version="1.0" Id="exampleID1" xmlns="urn:ietf:params:xml:ns:keyprov:pskc">
  <KeyPackage>
    <Key Id="12345678" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
      <Issuer>Issuer-A</Issuer>
      <Data><Secret><PlainValue>MTIzNA==
      </PlainValue></Secret></Data>
    </Key>
  </KeyPackage>
</KeyContainer>"#;
    let container = Container::parse(document).unwrap();
    assert_eq!(container.id(), Some("exampleID1"));
    assert!(!container.is_encrypted() && !container.has_unverified_signature());
    let key = only(container.open(DecryptionKey::None).unwrap());
    assert_eq!(key.info.issuer.as_deref(), Some("Issuer-A"));
    assert_eq!((secret_of(&key), key.data.counter), (&b"1234"[..], None));

    let data = "<Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret>
        <Counter><PlainValue>0</PlainValue></Counter>";
    let key = open(&plain(data), DecryptionKey::None).unwrap();
    assert_eq!(key.info.id, "12345678");
    assert_eq!(key.info.algorithm.as_deref(), Some(KeyInfo::HOTP));
    assert_eq!(
        key.info.device.manufacturer.as_deref(),
        Some("Manufacturer")
    );
    assert_eq!(key.info.device.serial_number.as_deref(), Some("987654321"));
    assert_eq!(key.info.crypto_module.as_deref(), Some("CM_ID_001"));
    let response = key.info.response.unwrap();
    assert_eq!(
        (response.encoding, response.length, response.check_digits),
        (Encoding::Decimal, 8, false)
    );
    assert_eq!((secret_of(&key), key.data.counter), (SECRET, Some(0)));
}

#[test]
fn keys_say_what_codes_are_computed_with() {
    let mut key = KeyInfo::new("1");
    for (suite, hash) in [
        (None, Some("SHA1")),
        (Some("HMAC-SHA1"), Some("SHA1")),
        (Some("SHA256"), Some("SHA256")),
        (Some("HMAC-SHA512"), Some("SHA512")),
        (Some("HMAC-SHA384"), None),
        (Some("hmac-sha256"), None),
        (Some(""), None),
    ] {
        key.suite = suite.map(str::to_owned);
        assert_eq!(key.hash(), hash, "{suite:?}");
    }
    assert_eq!(key.digits(), Some(6));
    let mut response = ResponseFormat::new(Encoding::Decimal, 8);
    key.response = Some(response);
    assert_eq!(key.digits(), Some(8));
    response.check_digits = true;
    key.response = Some(response);
    assert_eq!(key.digits(), None);
    key.response = Some(ResponseFormat::new(Encoding::Hexadecimal, 8));
    assert_eq!(key.digits(), None);
}

/// RFC 6030 figures 4, 5 and 10: a key by reference, a PIN policy, dates.
#[test]
fn policies_and_references() {
    let data = r#"<KeyProfileId>keyProfile1</KeyProfileId><KeyReference>MasterKeyLabel
        </KeyReference><Data><Counter><PlainValue>0</PlainValue></Counter></Data>
        <Policy><KeyUsage>OTP</KeyUsage></Policy>"#;
    let key = open(&container("", data), DecryptionKey::None).unwrap();
    assert_eq!(key.info.reference.as_deref(), Some("MasterKeyLabel"));
    assert_eq!(key.info.profile_id.as_deref(), Some("keyProfile1"));
    assert_eq!((key.data.secret, key.data.counter), (None, Some(0)));
    let policy = key.info.policy.unwrap();
    assert!(policy.permits(KeyUsage::Otp) && !policy.permits(KeyUsage::ChallengeResponse));

    let data = r#"<Policy><StartDate>2006-05-01T00:00:00Z</StartDate><ExpiryDate>2006-05-31T00:00:00Z</ExpiryDate>
        <PINPolicy MinLength="4" MaxLength="4" PINKeyId="123456781" PINEncoding="DECIMAL" PINUsageMode="Local"/>
        <NumberOfTransactions>7</NumberOfTransactions></Policy>"#;
    let policy = open(&container("", data), DecryptionKey::None)
        .unwrap()
        .info
        .policy
        .unwrap();
    assert_eq!(policy.expiry_date.as_deref(), Some("2006-05-31T00:00:00Z"));
    assert_eq!(policy.transactions, Some(7));
    assert!(policy.permits(KeyUsage::Otp));
    let pin = policy.pin.unwrap();
    assert_eq!(
        (pin.key_id.as_deref(), pin.usage),
        (Some("123456781"), Some(PinUsage::Local))
    );
    assert_eq!(
        (pin.min_len, pin.max_len, pin.encoding),
        (Some(4), Some(4), Some(Encoding::Decimal))
    );

    // A policy that is not understood in all its parts permits nothing (RFC 6030 section 5).
    for unknown in [
        "><KeyUsage>OTP</KeyUsage><KeyUsage>Tea</KeyUsage>",
        r#"><x:Only xmlns:x="urn:x"/>"#,
        r#" Only="Mondays"><KeyUsage>OTP</KeyUsage>"#,
        r#"><KeyUsage Only="Mondays">OTP</KeyUsage>"#,
        r#"><PINPolicy PINUsageMode="Local" Only="Mondays"/>"#,
        r#"><PINPolicy xmlns:x="urn:x" x:PINUsageMode="Local"/>"#,
        r#"><PINPolicy PINUsageMode="Local"><x:Only xmlns:x="urn:x"/></PINPolicy>"#,
    ] {
        let data = format!("<Policy{unknown}</Policy>");
        let policy = open(&container("", &data), DecryptionKey::None)
            .unwrap()
            .info
            .policy
            .unwrap();
        assert!(!policy.permits(KeyUsage::Otp), "{unknown}");
    }
}

#[test]
fn only_a_pin_that_the_device_checks_is_no_part_of_the_code() {
    assert!(!PinUsage::Local.is_part_of_code());
    for usage in [PinUsage::Prepend, PinUsage::Append, PinUsage::Algorithmic] {
        assert!(usage.is_part_of_code(), "{usage}");
    }
}

#[test]
fn words_are_shown_as_in_a_container_and_algorithms_in_short() {
    assert_eq!(Encoding::Alphanumeric.to_string(), "ALPHANUMERIC");
    assert_eq!(KeyUsage::ChallengeResponse.to_string(), "CR");
    assert_eq!(PinUsage::Algorithmic.to_string(), "Algorithmic");
    assert_eq!(MacAlgorithm::HmacSha384.to_string(), "hmac-sha384");
    assert_eq!(Cipher::Aes256KeyWrapPad.to_string(), "kw-aes-256-pad");
    let refused = PskcError::KeyLength {
        cipher: Cipher::Aes128Cbc,
        expected: 16,
        found: 32,
    };
    let text = "aes128-cbc takes a key of 16 bytes, not 32";
    assert_eq!(refused.to_string(), text);
}

/// An attribute of the schema has another name in the RFC's text (section 4.3.4).
#[test]
fn check_digits_have_two_names_and_are_true_or_false() {
    let read = |attribute: &str| {
        let document = plain("").replace("Length=", &format!("{attribute} Length="));
        Container::parse(&document).map(|container| {
            let response = container.keys().next().and_then(|key| key.response);
            response.unwrap().check_digits
        })
    };
    for (value, is_set) in [
        ("true", true),
        (" 1 ", true),
        ("false", false),
        ("0", false),
    ] {
        for name in ["CheckDigits", "CheckDigit"] {
            assert_eq!(
                read(&format!("{name}=\"{value}\"")),
                Ok(is_set),
                "{name} {value}"
            );
        }
    }
    let refused = read("CheckDigits=\"yes\"");
    let name = "CheckDigits";
    assert!(
        matches!(refused, Err(PskcError::Attribute { name: found, .. }) if found == name),
        "{refused:?}"
    );
}

/// RFC 6030 figure 6.
#[test]
fn a_pre_shared_key_opens() {
    let container = Container::parse(&figure_6()).unwrap();
    assert!(container.is_encrypted());
    assert_eq!(container.key_names(), ["Pre-shared-key"]);
    assert_eq!(container.mac_algorithm(), Some(MacAlgorithm::HmacSha1));
    assert!(container.key_derivation().is_none());
    let key = only(container.open(DecryptionKey::Key(&PRE_SHARED)).unwrap());
    assert_eq!((secret_of(&key), key.data.counter), (SECRET, Some(0)));

    assert_eq!(
        container.open(DecryptionKey::None),
        Err(PskcError::KeyNeeded)
    );
    assert_eq!(
        container.open(DecryptionKey::Password("qwerty")),
        Err(PskcError::KeyNeeded)
    );
    assert_eq!(
        container.open(DecryptionKey::Key(&[0; 16])),
        Err(PskcError::Authentication)
    );
    let cipher = Cipher::Aes128Cbc;
    let length = PskcError::KeyLength {
        cipher,
        expected: 16,
        found: 32,
    };
    assert_eq!(container.open(DecryptionKey::Key(&[0; 32])), Err(length));
}

/// RFC 6030 figure 7, whose parameters are in two namespaces.
fn figure_7(salt: &str, iterations: &str, key_len: &str, prf: &str) -> String {
    format!(
        r##"<pskc:KeyContainer xmlns:pskc="urn:ietf:params:xml:ns:keyprov:pskc" xmlns:xenc11="http://www.w3.org/2009/xmlenc11#"
    xmlns:pkcs5="http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Version="1.0">
  <pskc:EncryptionKey><xenc11:DerivedKey>
    <xenc11:KeyDerivationMethod Algorithm="http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2">
      <pkcs5:PBKDF2-params><Salt><Specified>{salt}</Specified></Salt>
        <IterationCount>{iterations}</IterationCount><KeyLength>{key_len}</KeyLength>{prf}</pkcs5:PBKDF2-params>
    </xenc11:KeyDerivationMethod>
    <xenc:ReferenceList><xenc:DataReference URI="#ED"/></xenc:ReferenceList>
    <xenc11:MasterKeyName>My Password 1</xenc11:MasterKeyName>
  </xenc11:DerivedKey></pskc:EncryptionKey>
  <pskc:MACMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"><pskc:MACKey>{mac_key}</pskc:MACKey></pskc:MACMethod>
  <pskc:KeyPackage><pskc:Key Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp" Id="123456">
    <pskc:Data><pskc:Secret><pskc:EncryptedValue Id="ED">{secret}</pskc:EncryptedValue>
      <pskc:ValueMAC>LP6xMvjtypbfT9PdkJhBZ+D6O4w=</pskc:ValueMAC></pskc:Secret></pskc:Data>
  </pskc:Key></pskc:KeyPackage>
</pskc:KeyContainer>"##,
        mac_key = encrypted(
            "aes128-cbc",
            "2GTTnLwM3I4e5IO5FkufoOEiOhNj91fhKRQBtBJYluUDsPOLTfUvoU2dStyOwYZx"
        ),
        secret = encrypted(
            "aes128-cbc",
            "oTvo+S22nsmS2Z/RtcoF8Hfh+jzMe0RkiafpoDpnoZTjPYZu6V+A4aEn032yCr4f"
        ),
    )
}

#[test]
fn a_password_opens() {
    let container = Container::parse(&figure_7("Ej7/PEpyEpw=", "1000", "16", "<PRF/>")).unwrap();
    let derivation = container.key_derivation().unwrap();
    assert_eq!((derivation.iterations(), derivation.key_len()), (1000, 16));
    assert_eq!(derivation.prf(), MacAlgorithm::HmacSha1);
    assert_eq!(derivation.names(), ["My Password 1"]);
    assert_eq!(
        derivation.salt(),
        [0x12, 0x3e, 0xff, 0x3c, 0x4a, 0x72, 0x12, 0x9c]
    );
    let key = only(container.open(DecryptionKey::Password("qwerty")).unwrap());
    assert_eq!(secret_of(&key), SECRET);
    assert_eq!(
        container.open(DecryptionKey::Password("qwertz")),
        Err(PskcError::Authentication)
    );
    assert_eq!(
        container.open(DecryptionKey::Key(&PRE_SHARED)),
        Err(PskcError::PasswordNeeded)
    );
    for none in [DecryptionKey::None, DecryptionKey::Password("")] {
        assert_eq!(container.open(none), Err(PskcError::PasswordNeeded));
    }
}

#[test]
fn key_derivations_are_bounded_before_they_are_used() {
    let refused = |salt: &str, iterations: &str, len: &str| match Container::parse(&figure_7(
        salt, iterations, len, "",
    )) {
        Err(PskcError::KeyDerivation { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let salt = "Ej7/PEpyEpw=";
    for iterations in ["0", "10000001", "4294967297", "18446744073709551615"] {
        assert_eq!(
            refused(salt, iterations, "16"),
            "iterations",
            "{iterations}"
        );
    }
    for len in ["0", "8", "20", "33", "64", "4294967312"] {
        assert_eq!(refused(salt, "1000", len), "key length", "{len}");
    }
    let refused_len = Container::parse(&figure_7(salt, "1000", "20", "")).unwrap_err();
    let allowed = "a key of 16, 24 or 32 bytes";
    assert!(refused_len.to_string().contains(allowed), "{refused_len}");
    for salt in ["", "Ej7/PEpyEg==", &"AAAA".repeat(342)] {
        assert_eq!(refused(salt, "1000", "16"), "salt", "{salt}");
    }
    for wrong in ["-1", "1e3", "", "99999999999999999999"] {
        let error = Container::parse(&figure_7(salt, wrong, "16", "")).unwrap_err();
        assert!(
            matches!(error, PskcError::Number { .. }),
            "{wrong}: {error:?}"
        );
    }
    assert!(Container::parse(&figure_7(salt, "10000000", "32", "")).is_ok());
    let unknown = r#"<PRF Algorithm="urn:md5"/>"#;
    let error = Container::parse(&figure_7(salt, "1000", "16", unknown)).unwrap_err();
    assert!(matches!(error, PskcError::Algorithm { .. }), "{error:?}");
}

#[test]
fn a_derivation_has_only_the_parameters_that_are_known() {
    let document = figure_7("Ej7/PEpyEpw=", "1000", "16", "<PRF/>");
    for (from, to) in [
        ("pkcs5:PBKDF2-params", "pskc:PBKDF2-params"),
        ("pkcs5:PBKDF2-params", "pkcs5:PBKDF1-params"),
        ("Specified>", "OtherSource>"),
        ("Specified>", "pskc:Specified>"),
        ("KeyLength>", "xenc:KeyLength>"),
        ("<PRF/>", "<Pepper/>"),
    ] {
        let changed = document.replace(from, to);
        assert_ne!(changed, document);
        let refused = Container::parse(&changed).map(|_| ());
        assert!(
            matches!(refused, Err(PskcError::UnexpectedElement { .. })),
            "{to}: {refused:?}"
        );
    }
    // Its function is named once.
    let uri = MacAlgorithm::HmacSha1.uri();
    let twice = format!("<PRF Algorithm=\"{uri}\">{uri}</PRF>");
    let refused = Container::parse(&figure_7("Ej7/PEpyEpw=", "1000", "16", &twice));
    assert!(matches!(refused, Err(PskcError::Text { .. })));
}

#[test]
fn keys_that_come_from_elsewhere_are_not_supported() {
    let what = |document: &str| match Container::parse(document) {
        Err(PskcError::Unsupported { what, .. }) => what,
        other => panic!("{:?}", other.map(|_| ())),
    };
    let public = "<EncryptionKey><ds:X509Data/></EncryptionKey>";
    assert_eq!(
        what(&container(public, "")),
        "a container that is encrypted with a public key"
    );
    let mac = mac_method("<ds:KeyName>another</ds:KeyName>");
    assert_eq!(
        what(&container(&mac, "")),
        "an authentication key from elsewhere"
    );
    let name = "<n:KeyName xmlns:n='http://www.w3.org/2000/09/xmldsig#'>k</n:KeyName>";
    let both = figure_7("Ej7/PEpyEpw=", "1000", "16", "").replace(
        "<pskc:EncryptionKey>",
        &format!("<pskc:EncryptionKey>{name}"),
    );
    assert_eq!(what(&both), "a key that is both derived and named");
}

/// Every change is detected by its authentication code, before anything is decrypted.
#[test]
fn what_was_changed_is_refused() {
    let protection = mac_method(&format!(
        "<MACKey>{}</MACKey>",
        encrypted("aes128-cbc", MAC_KEY)
    ));
    let changed = |value: &str, mac: &str| {
        open(
            &container(&protection, &secret_of_figure_6(value, mac)),
            DecryptionKey::Key(&PRE_SHARED),
        )
    };
    assert!(changed(CIPHER_VALUE, VALUE_MAC).is_ok());
    for (value, mac) in [
        (&CIPHER_VALUE.replace("AAEC", "AAED")[..], VALUE_MAC),
        (&CIPHER_VALUE.replace("UqGv", "UqGw"), VALUE_MAC),
        (CIPHER_VALUE, "Su+NvtQfmvfJzF6bmQiJqoLREw=="),
        (CIPHER_VALUE, "Su+NvtQfmvfJzF6bmQiJqoLRExY="),
        (CIPHER_VALUE, ""),
    ] {
        assert_eq!(
            changed(value, mac),
            Err(PskcError::Authentication),
            "{value} {mac}"
        );
    }
}

#[test]
fn cbc_without_a_code_that_verifies_is_refused() {
    let value = encrypted("aes128-cbc", CIPHER_VALUE);
    let bare = format!("<Data><Secret><EncryptedValue>{value}</EncryptedValue></Secret></Data>");
    let method = mac_method(&format!(
        "<MACKey>{}</MACKey>",
        encrypted("aes128-cbc", MAC_KEY)
    ));
    let without_algorithm = method.replace(
        " Algorithm=\"http://www.w3.org/2000/09/xmldsig#hmac-sha1\"",
        "",
    );
    assert_ne!(without_algorithm, method);
    for (protection, data) in [
        ("", &bare[..]),
        (&method, &bare),
        ("", &secret_of_figure_6(CIPHER_VALUE, VALUE_MAC)),
        (
            &without_algorithm,
            &secret_of_figure_6(CIPHER_VALUE, VALUE_MAC),
        ),
    ] {
        let refused = open(
            &container(protection, data),
            DecryptionKey::Key(&PRE_SHARED),
        );
        assert!(matches!(refused, Err(PskcError::Mac { .. })), "{refused:?}");
    }
    // A code of a value that is not encrypted would have to be ignored.
    let data = format!(
        "<Secret><PlainValue>MTIzNA==</PlainValue><ValueMAC>{VALUE_MAC}</ValueMAC></Secret>"
    );
    let refused = open(&plain(&data), DecryptionKey::None);
    assert!(matches!(refused, Err(PskcError::Mac { .. })), "{refused:?}");
}

/// With an authentication key that anybody can guess, such as an empty one, anybody can make codes.
#[test]
fn a_short_authentication_key_is_refused() {
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
    use hmac::{KeyInit, Mac};

    let wrapped = |mac_key: &[u8]| {
        let mut blocks = [0; 32];
        blocks
            .iter_mut()
            .zip(mac_key)
            .for_each(|(to, from)| *to = *from);
        let encryptor = cbc::Encryptor::<aes::Aes128>::new(&PRE_SHARED.into(), &[7; 16].into());
        let encrypted_key = encryptor
            .encrypt_padded::<Pkcs7>(&mut blocks, mac_key.len())
            .unwrap();
        let value = data_encoding::BASE64.encode(&[&[7; 16], encrypted_key].concat());
        let key = encrypted("aes128-cbc", &value);

        // The code made with this key.
        let secret = data_encoding::BASE64
            .decode(CIPHER_VALUE.as_bytes())
            .unwrap();
        let mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(mac_key).unwrap();
        let code = mac.chain_update(secret).finalize().into_bytes();
        let data = secret_of_figure_6(CIPHER_VALUE, &data_encoding::BASE64.encode(&code));
        let document = container(&mac_method(&format!("<MACKey>{key}</MACKey>")), &data);
        open(&document, DecryptionKey::Key(&PRE_SHARED)).map(|key| secret_of(&key).to_vec())
    };
    assert_eq!(wrapped(&[9; 16]).as_deref(), Ok(SECRET));
    for short in [&[][..], &[9; 15]] {
        assert_eq!(wrapped(short), Err(PskcError::Authentication));
    }
}

/// RFC 3394 section 4.1: 128 bits of key data under a 128-bit key; and 4.6 under 256 bits.
#[test]
fn wrapped_keys_open_and_authenticate_themselves() {
    let kek: Vec<u8> = (0..32).collect();
    let wrapped = |algorithm: &str, hex: &str| {
        let bytes = data_encoding::HEXUPPER.decode(hex.as_bytes()).unwrap();
        let value = encrypted(algorithm, &data_encoding::BASE64.encode(&bytes));
        let data =
            format!("<Data><Secret><EncryptedValue>{value}</EncryptedValue></Secret></Data>");
        container(
            "<EncryptionKey><ds:KeyName>k</ds:KeyName></EncryptionKey>",
            &data,
        )
    };
    let key = open(
        &wrapped(
            "kw-aes128",
            "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
        ),
        DecryptionKey::Key(kek.get(..16).unwrap()),
    );
    assert_eq!(
        data_encoding::HEXUPPER.encode(secret_of(&key.unwrap())),
        "00112233445566778899AABBCCDDEEFF"
    );
    let key = open(
        &wrapped(
            "kw-aes192",
            "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D",
        ),
        DecryptionKey::Key(kek.get(..24).unwrap()),
    );
    assert_eq!(
        data_encoding::HEXUPPER.encode(secret_of(&key.unwrap())),
        "00112233445566778899AABBCCDDEEFF"
    );
    let value = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21";
    let key = open(&wrapped("kw-aes256", value), DecryptionKey::Key(&kek)).unwrap();
    assert_eq!(
        data_encoding::HEXUPPER.encode(secret_of(&key)),
        "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"
    );
    let changed = value.replace("28C9", "28C8");
    assert_eq!(
        open(&wrapped("kw-aes256", &changed), DecryptionKey::Key(&kek)),
        Err(PskcError::Authentication)
    );
}

/// RFC 5649 section 6: 20 and 7 bytes of key data under a 192-bit key.
#[test]
fn padded_keys_open_and_authenticate_themselves() {
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let kek = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    let unwrapped = |wrapped: &str| {
        let method = "http://www.w3.org/2001/04/xmlenc#kw-aes-192-pad";
        let value = encrypted(
            "kw-aes-192-pad",
            &data_encoding::BASE64.encode(&hex(wrapped)),
        );
        let value = value.replace(method, Cipher::Aes192KeyWrapPad.uri());
        let data = format!("<Secret><EncryptedValue>{value}</EncryptedValue></Secret>");
        open(&plain(&data), DecryptionKey::Key(&kek)).map(|key| secret_of(&key).to_vec())
    };
    let wrapped = "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a";
    assert_eq!(
        unwrapped(wrapped),
        Ok(hex("c37b7e6492584340bed12207808941155068f738"))
    );
    let short = "afbeb0f07dfbf5419200f2ccb50bb24f";
    assert_eq!(unwrapped(short), Ok(hex("466f7250617369")));
    for changed in [
        wrapped.replace("138b", "138c"),
        short.replace("afbe", "afbf"),
    ] {
        assert_eq!(unwrapped(&changed), Err(PskcError::Authentication));
    }
}

#[test]
fn values_of_no_possible_length_are_refused() {
    for (algorithm, len) in [
        ("aes128-cbc", 16),
        ("aes128-cbc", 33),
        ("aes256-cbc", 0),
        ("kw-aes128", 16),
        ("kw-aes128", 25),
    ] {
        let value = encrypted(algorithm, &data_encoding::BASE64.encode(&vec![0; len]));
        let data = format!("<Secret><EncryptedValue>{value}</EncryptedValue></Secret>");
        let refused = Container::parse(&plain(&data)).map(|_| ());
        assert!(
            matches!(refused, Err(PskcError::CipherValue { .. })),
            "{algorithm} {len}: {refused:?}"
        );
    }
    let (wrap, padded) = (Cipher::Aes128KeyWrap.uri(), Cipher::Aes128KeyWrapPad.uri());
    for len in [0, 8, 15, 17, 20] {
        let value = encrypted("kw-aes128", &data_encoding::BASE64.encode(&vec![0; len]));
        let value = value.replace(wrap, padded);
        let data = format!("<Secret><EncryptedValue>{value}</EncryptedValue></Secret>");
        let refused = Container::parse(&plain(&data)).map(|_| ());
        assert!(
            matches!(refused, Err(PskcError::CipherValue { .. })),
            "{len}: {refused:?}"
        );
    }
    for algorithm in ["tripledes-cbc", "AES128-CBC", "rsa-1_5"] {
        let value = encrypted(algorithm, CIPHER_VALUE);
        let data = format!("<Secret><EncryptedValue>{value}</EncryptedValue></Secret>");
        let refused = Container::parse(&plain(&data)).map(|_| ());
        assert!(
            matches!(refused, Err(PskcError::Algorithm { .. })),
            "{algorithm}: {refused:?}"
        );
    }
}

#[test]
fn an_encrypted_value_is_one_value_in_the_document() {
    let value = encrypted("aes128-cbc", CIPHER_VALUE);
    let parse = |value: &str| {
        let data = format!("<Secret><EncryptedValue>{value}</EncryptedValue></Secret>");
        Container::parse(&plain(&data)).map(|_| ())
    };
    assert_eq!(parse(&value), Ok(()));
    let elsewhere = parse(&value.replace("CipherValue", "CipherReference"));
    assert!(
        matches!(elsewhere, Err(PskcError::UnexpectedElement { .. })),
        "{elsewhere:?}"
    );
    let twice = parse(&value.replace(
        "</xenc:CipherValue>",
        "</xenc:CipherValue><xenc:CipherValue/>",
    ));
    assert!(
        matches!(twice, Err(PskcError::Duplicate { .. })),
        "{twice:?}"
    );
    let (method, _) = value.split_once("<xenc:CipherData>").unwrap();
    for (value, missing) in [
        (method.to_owned(), "CipherData"),
        (format!("{method}<xenc:CipherData/>"), "CipherValue"),
        (value.replace(method, ""), "EncryptionMethod"),
    ] {
        let refused = parse(&value);
        assert!(
            matches!(refused, Err(PskcError::MissingElement { name, .. }) if name == missing),
            "{missing}: {refused:?}"
        );
    }
    // An algorithm's name may be of any length, but not in an error.
    let Err(PskcError::Algorithm { uri, .. }) = parse(&encrypted(&"x".repeat(200), CIPHER_VALUE))
    else {
        panic!("an unknown algorithm");
    };
    assert_eq!(uri.len(), 100);
}

#[test]
fn document_types_and_entities_are_refused() {
    let body = plain("");
    let body = body.split_once("?>").unwrap().1;
    for document in [
        format!(r#"<!DOCTYPE KeyContainer>{body}"#),
        format!(r#"<!DOCTYPE KeyContainer [<!ENTITY a "b">]>{body}"#),
        format!(r#"<!DOCTYPE KeyContainer SYSTEM "file:///etc/passwd">{body}"#),
    ] {
        assert_eq!(
            Container::parse(&document).map(|_| ()),
            Err(PskcError::DocumentType { at: 0 })
        );
    }
    let late = body.replace("<Issuer>", "<!ENTITY a 'b'><Issuer>");
    assert!(matches!(
        Container::parse(&late),
        Err(PskcError::DocumentType { .. })
    ));
    let unknown = body.replace("<Issuer>Issuer", "<Issuer>&secret;");
    let nameless = body.replace("<Issuer>Issuer", "<><Issuer>Issuer");
    for malformed in [unknown, nameless] {
        assert!(matches!(
            Container::parse(&malformed),
            Err(PskcError::Xml { .. })
        ));
    }
}

#[test]
fn namespaces_decide_and_not_prefixes() {
    let document = plain("<Secret><PlainValue>MTIzNA==</PlainValue></Secret>");
    // The same elements with a prefix.
    let prefixed = document
        .replace("xmlns=", "xmlns:p=")
        .replace("</", "</p:")
        .replace("<K", "<p:K")
        .replace("<D", "<p:D")
        .replace("<M", "<p:M")
        .replace("<S", "<p:S")
        .replace("<C", "<p:C")
        .replace("<I", "<p:I")
        .replace("<A", "<p:A")
        .replace("<R", "<p:R")
        .replace("<P", "<p:P");
    assert_eq!(
        open(&prefixed, DecryptionKey::None),
        open(&document, DecryptionKey::None)
    );

    let other = "urn:ietf:params:xml:ns:keyprov:pskc:2";
    for changed in [
        document.replace(
            "xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\"",
            &format!("xmlns=\"{other}\""),
        ),
        document.replace("xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\"", ""),
        document.replace("<Key Id", &format!("<Key xmlns=\"{other}\" Id")),
        document.replace("<PlainValue>", &format!("<PlainValue xmlns=\"{other}\">")),
        document.replace(
            "<Issuer>Issuer</Issuer>",
            "<Issuer>Issuer</Issuer><ds:Issuer>Other</ds:Issuer>",
        ),
        document.replace("<Issuer>Issuer</Issuer>", "<Tea/>"),
        document.replace("<KeyPackage>", "<Signature/><KeyPackage>"),
    ] {
        assert!(
            matches!(
                Container::parse(&changed),
                Err(PskcError::UnexpectedElement { .. })
            ),
            "{changed}"
        );
    }
    // An attribute of another namespace does not count.
    let missing = document.replace("Id=\"12345678\"", "ds:Id=\"12345678\"");
    assert!(matches!(
        Container::parse(&missing),
        Err(PskcError::Attribute { name: "Id", .. })
    ));
    // Extensions are ignored. A signature is reported.
    let extended = document.replace(
        "<KeyPackage>",
        "<Extensions><x xmlns=\"urn:x\">1</x></Extensions><KeyPackage>",
    );
    assert!(Container::parse(&extended).is_ok());
    let signed = document.replace("<KeyPackage>", "<ds:Signature/><KeyPackage>");
    assert!(
        Container::parse(&signed)
            .unwrap()
            .has_unverified_signature()
    );
}

#[test]
fn the_root_is_a_key_container_by_name_and_namespace() {
    let pskc = "urn:ietf:params:xml:ns:keyprov:pskc";
    let root = |name: &str, namespace: &str| {
        let document = format!("<{name} Version='1.0' xmlns='{namespace}'/>");
        Container::parse(&document).map(|container| container.keys().len())
    };
    assert_eq!(root("KeyContainer", pskc), Ok(0));
    for (name, namespace) in [
        ("KeyContainer", "urn:x"),
        ("KeyContainer", ""),
        ("Container", pskc),
        ("KeyPackage", pskc),
    ] {
        let unexpected = Err(PskcError::UnexpectedElement { at: 0 });
        assert_eq!(root(name, namespace), unexpected, "{name} {namespace}");
    }
}

/// RFC 6030 section 11: each of these types has them. Values of a key have other namespaces instead.
#[test]
fn extensions_are_ignored_wherever_the_schema_has_them() {
    let document = plain("<Secret><PlainValue>MTIzNA==</PlainValue></Secret>");
    let extensions = "<Extensions><x xmlns=\"urn:x\">1</x></Extensions>";
    for (end, extension) in [
        ("</DeviceInfo>", extensions),
        ("</CryptoModuleInfo>", extensions),
        ("</AlgorithmParameters>", extensions),
        ("</Key>", extensions),
        ("</KeyPackage>", extensions),
        ("</KeyContainer>", extensions),
        ("</Data>", "<x xmlns=\"urn:x\">1</x>"),
    ] {
        let extended = document.replace(end, &format!("{extension}{end}"));
        assert_ne!(extended, document);
        assert_eq!(
            open(&extended, DecryptionKey::None),
            open(&document, DecryptionKey::None),
            "{end}"
        );
    }
    let unknown = document.replace("</Data>", "<Temperature/></Data>");
    assert!(matches!(
        Container::parse(&unknown),
        Err(PskcError::UnexpectedElement { .. })
    ));
}

/// Documents that other parsers might read differently.
#[test]
fn repetitions_and_divided_texts_are_refused() {
    let document = plain("<Secret><PlainValue>MTIzNA==</PlainValue></Secret>");
    let plain_value = "<PlainValue>MTIzNA==</PlainValue>";
    let secret = format!("<Secret>{plain_value}</Secret>");
    for (from, to) in [
        (plain_value, &plain_value.repeat(2)[..]),
        (&secret, &secret.repeat(2)),
        (
            "<Issuer>Issuer</Issuer>",
            "<Issuer>Issuer</Issuer><Issuer>Issuer</Issuer>",
        ),
        (
            "</KeyContainer>",
            "<KeyPackage><Key Id=\"12345678\"/></KeyPackage></KeyContainer>",
        ),
    ] {
        let changed = document.replace(from, to);
        assert!(
            matches!(Container::parse(&changed), Err(PskcError::Duplicate { .. })),
            "{changed}"
        );
    }
    for (from, to) in [
        ("MTIzNA==", "MTIz<!-- -->NA=="),
        ("MTIzNA==", "MTIz<?pi?>NA=="),
        ("MTIzNA==", "MTIz<x/>NA=="),
        ("<Issuer>Issuer", "<Issuer><!-- -->Issuer"),
        (">Issuer<", "><x/><"),
        (">Issuer<", "><!-- --><"),
        ("<Secret>", "stray<Secret>"),
    ] {
        let changed = document.replace(from, to);
        assert!(
            matches!(Container::parse(&changed), Err(PskcError::Text { .. })),
            "{changed}"
        );
    }
    for wrong in ["MTIzNA", "MTIzNB==", "MTIz_A==", "MTIzNA==MTIzNA=="] {
        let changed = document.replace("MTIzNA==", wrong);
        assert!(
            matches!(Container::parse(&changed), Err(PskcError::Base64 { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn what_costs_more_than_its_length_is_refused() {
    let excessive = |document: &str| match Container::parse(document) {
        Err(PskcError::Excessive { what, .. }) => what,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(excessive(&"<a>".repeat(100_000)), "depth");
    let nested: String = (0..20)
        .map(|n| format!("<a xmlns:a{n}='urn:{n}' xmlns:b{n}='urn:{n}'>"))
        .collect();
    assert_eq!(excessive(&nested), "namespaces");
    let attributes: String = (0..10_000).map(|n| format!(" a{n}=''")).collect();
    assert_eq!(excessive(&format!("<a{attributes}/>")), "attributes");
    assert_eq!(
        excessive(&format!("<a>{}</a>", "<b/>".repeat(600_000))),
        "elements"
    );
    let long = plain("").replace(">Issuer<", &format!(">{}<", "x".repeat(20_000)));
    assert_eq!(excessive(&long), "text");
    // Tags in comments, character data and attribute values do not count as depth.
    let harmless =
        plain(&format!("<!--{}-->", "<a>".repeat(100))).replace(">Issuer<", "><![CDATA[<a><a>]]><");
    assert!(Container::parse(&harmless).is_ok());
    let quoted = plain("").replace("Id=\"12345678\"", "Id='a>b=\"=\"/'");
    assert_eq!(
        Container::parse(&quoted).unwrap().keys().next().unwrap().id,
        "a>b=\"=\"/"
    );
    let many = " ".repeat(Container::MAX_LEN + 1);
    assert!(matches!(Container::parse(&many), Err(PskcError::TooLong)));
}

#[test]
fn a_document_may_reach_its_limits() {
    let read = |extension: &str| {
        let extended = format!("<Extensions>{extension}</Extensions></KeyContainer>");
        let document = plain("").replace("</KeyContainer>", &extended);
        match Container::parse(&document) {
            Ok(_) => Ok(()),
            Err(PskcError::Excessive { what, .. }) => Err(what),
            Err(error) => panic!("{error}"),
        }
    };
    // The container and its extensions are the first two of 32 levels. An empty element has none inside.
    let nested = |levels: usize| "<x>".repeat(levels) + "<x/>" + &"</x>".repeat(levels);
    assert_eq!(read(&nested(30)), Ok(()));
    assert_eq!(read(&nested(31)), Err("depth"));
    let attributes = |count: usize| -> String { (0..count).map(|n| format!(" a{n}=''")).collect() };
    assert_eq!(read(&format!("<x{}/>", attributes(32))), Ok(()));
    assert_eq!(read(&format!("<x{}/>", attributes(33))), Err("attributes"));
    // The container declares three namespaces.
    let declared = |count: usize| -> String {
        let declarations = (0..count).map(|n| format!(" xmlns:n{n}='urn:{n}'"));
        declarations.collect()
    };
    assert_eq!(read(&format!("<x{}/>", declared(29))), Ok(()));
    assert_eq!(read(&format!("<x{}/>", declared(30))), Err("namespaces"));
    // A name is no declaration.
    assert_eq!(read(&format!("<{}/>", "x".repeat(40))), Ok(()));
}

#[test]
fn nothing_hides_tags_from_the_limits() {
    let long = "x".repeat(1_000);
    for before in [
        format!("<!--{long}-->"),
        format!("<?x {long}?>"),
        format!("<![CDATA[{long}]]>"),
        // They end, although what could begin another one stands before the end.
        "<!--comment<!-->".to_owned(),
        "<?x instruction<?>".to_owned(),
    ] {
        let document = before.clone() + &"<a>".repeat(100);
        let refused = Container::parse(&document).map(|_| ());
        assert!(
            matches!(refused, Err(PskcError::Excessive { what: "depth", .. })),
            "{before}: {refused:?}"
        );
    }
}

#[test]
fn numbers() {
    let number = |name: &str, text: &str| {
        open(
            &plain(&format!("<{name}><PlainValue>{text}</PlainValue></{name}>")),
            DecryptionKey::None,
        )
        .map(|key| key.data)
    };
    assert_eq!(
        number("Counter", "9223372036854775807").unwrap().counter,
        Some(u64::MAX / 2)
    );
    assert_eq!(
        number("TimeInterval", " 30\n").unwrap().time_interval,
        Some(30)
    );
    assert_eq!(number("TimeDrift", "-4").unwrap().time_drift, Some(-4));
    for (name, text) in [
        ("Counter", "-1"),
        ("Counter", ""),
        ("Counter", "+1"),
        ("Counter", "9223372036854775808"),
        ("Counter", "0x1"),
        ("TimeDrift", "--4"),
        ("TimeDrift", "-"),
        ("Time", "1.0"),
    ] {
        assert!(
            matches!(number(name, text), Err(PskcError::Number { .. })),
            "{name} {text}"
        );
    }
}

#[test]
fn secrets_are_hidden() {
    let container =
        Container::parse(&plain("<Secret><PlainValue>MTIzNA==</PlainValue></Secret>")).unwrap();
    let keys = container.open(DecryptionKey::None).unwrap();
    for shown in [
        format!("{container:?}"),
        format!("{keys:?}"),
        format!("{:?}", DecryptionKey::Key(b"1234")),
        format!("{:?}", DecryptionKey::Password("1234")),
    ] {
        assert!(shown.contains("redacted"), "{shown}");
        assert!(
            !shown.contains("49, 50") && !shown.contains("\"1234\"") && !shown.contains("MTIz"),
            "{shown}"
        );
    }
    let sealed = format!("{:?}", Container::parse(&figure_6()).unwrap());
    assert!(sealed.contains("SealedValue(aes128-cbc; 48)"), "{sealed}");
}

#[test]
fn secrets_are_equal_by_their_bytes() {
    let secret = |bytes: &[u8]| Secret::from(bytes);
    assert_eq!(secret(b"foo"), secret(b"foo"));
    assert_ne!(secret(b"foo"), secret(b"fop"));
    assert_ne!(secret(b"foo"), secret(b"foo\0"));
}

#[test]
fn versions_and_shapes() {
    let document = plain("");
    for version in [
        "", "1", "1.", ".0", "2.0", "1.0 ", "1.0.0", "1.1000", "+1.0",
    ] {
        let changed = document.replace("Version=\"1.0\"", &format!("Version=\"{version}\""));
        assert_eq!(
            Container::parse(&changed).map(|_| ()),
            Err(PskcError::Version),
            "{version}"
        );
    }
    for version in ["1.1", "01.0", "1.000"] {
        let changed = document.replace("Version=\"1.0\"", &format!("Version=\"{version}\""));
        assert!(Container::parse(&changed).is_ok(), "{version}");
    }
    for text in [
        "",
        "<",
        "<a",
        "not xml",
        "<KeyContainer>",
        "<a/><b/>",
        "<!-- ",
        "<![CDATA[",
        "<?xml",
        "</a>",
    ] {
        assert!(Container::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_change_of_a_document_panics_or_opens_another_secret(at in 0_usize..4_000, with in "[ -~]{0,3}") {
        let document = figure_6();
        let at = at % document.len();
        let changed = format!("{}{with}{}", document.get(..at).unwrap_or_default(), document.get(at + with.len()..).unwrap_or_default());
        if let Ok(container) = Container::parse(&changed)
            && let Ok(keys) = container.open(DecryptionKey::Key(&PRE_SHARED))
        {
            for key in keys {
                prop_assert!(key.data.secret.is_none_or(|secret| secret.as_bytes() == SECRET));
            }
        }
    }
}

/// Builds containers whose values are encrypted and authenticated under [`PRE_SHARED`], independently of the crate.
mod sealed {
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::NoPadding};
    use hmac::{KeyInit, Mac};

    use super::{MAC_KEY, PRE_SHARED, encrypted, mac_method};

    /// An initialisation vector, and these blocks encrypted as they are, with their padding.
    pub(super) fn cbc(blocks: &[u8]) -> Vec<u8> {
        let mut sealed = blocks.to_vec();
        let len = sealed.len();
        let encryptor = cbc::Encryptor::<aes::Aes128>::new(&PRE_SHARED.into(), &[7; 16].into());
        let sealed = encryptor.encrypt_padded::<NoPadding>(&mut sealed, len);
        [&[7; 16], sealed.unwrap()].concat()
    }

    /// A value after as many padding bytes as fill its last block.
    pub(super) fn padded(value: &[u8]) -> Vec<u8> {
        let padding = 16 - value.len() % 16;
        cbc(&[value, &vec![u8::try_from(padding).unwrap(); padding]].concat())
    }

    /// The code of a value, with the authentication key that figure 6 has encrypted.
    fn code(value: &[u8]) -> Vec<u8> {
        let key: Vec<u8> = data_encoding::HEXLOWER
            .decode(b"1122334455667788990011223344556677889900")
            .unwrap();
        let mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(&key).unwrap();
        mac.chain_update(value).finalize().into_bytes().to_vec()
    }

    pub(super) fn element(name: &str, value: &[u8], code: Option<&[u8]>) -> String {
        let code = code.map(|code| data_encoding::BASE64.encode(code));
        let code = code.map(|code| format!("<ValueMAC>{code}</ValueMAC>"));
        let value = encrypted("aes128-cbc", &data_encoding::BASE64.encode(value));
        let code = code.unwrap_or_default();
        format!("<{name}><EncryptedValue>{value}</EncryptedValue>{code}</{name}>")
    }

    /// An element with the right authentication code.
    pub(super) fn authentic(name: &str, value: &[u8]) -> String {
        element(name, value, Some(&code(value)))
    }

    pub(super) fn container(data: &str) -> String {
        let key = encrypted("aes128-cbc", MAC_KEY);
        let method = mac_method(&format!("<MACKey>{key}</MACKey>"));
        super::container(&method, &format!("<Data>{data}</Data>"))
    }
}

#[test]
fn every_value_is_authenticated_and_not_the_secret_alone() {
    let open = |data: &str| open(&sealed::container(data), DecryptionKey::Key(&PRE_SHARED));
    let secret = sealed::authentic("Secret", &sealed::padded(SECRET));
    for name in ["Secret", "Counter", "Time", "TimeInterval", "TimeDrift"] {
        let value = sealed::padded(&[0, 0, 0, 5]);
        let others = if name == "Secret" { "" } else { &secret[..] };
        let with = |element: String| open(&format!("{others}{element}"));
        assert!(with(sealed::authentic(name, &value)).is_ok(), "{name}");
        let of_another = sealed::element(name, &value, Some(&[0; 20]));
        assert_eq!(with(of_another), Err(PskcError::Authentication), "{name}");
        let without = with(sealed::element(name, &value, None));
        assert!(matches!(without, Err(PskcError::Mac { .. })), "{name}");
    }
}

#[test]
fn one_encrypted_value_makes_a_container_encrypted() {
    for name in ["Secret", "Counter", "Time", "TimeInterval", "TimeDrift"] {
        let value = sealed::element(name, &sealed::padded(&[5]), None);
        let container = Container::parse(&plain(&value)).unwrap();
        assert!(container.is_encrypted(), "{name}");
        let refused = container.open(DecryptionKey::None);
        assert_eq!(refused, Err(PskcError::KeyNeeded), "{name}");
    }
}

/// Nothing is decrypted before the last code was verified, so errors of decryption are not reported.
#[test]
fn all_codes_are_verified_before_the_first_value_is_decrypted() {
    // Its code is right, but its padding is wrong.
    let broken = sealed::authentic("Secret", &sealed::cbc(&[0; 16]));
    let open = |data: &str| open(&sealed::container(data), DecryptionKey::Key(&PRE_SHARED));
    let changed = sealed::element("Counter", &sealed::padded(&[1]), None);
    let refused = open(&format!("{broken}{changed}"));
    assert!(matches!(refused, Err(PskcError::Mac { .. })), "{refused:?}");
    assert_eq!(open(&broken), Err(PskcError::Authentication));
}

/// An attacker can replace a protected container with one that has plain secrets, for all keys or for one.
#[test]
fn a_plain_secret_is_refused_under_a_key_and_a_password() {
    let mine = "<Secret><PlainValue>MTIzNA==</PlainValue></Secret>";
    let numbers = "<Counter><PlainValue>7</PlainValue></Counter><TimeDrift><PlainValue>-1</PlainValue></TimeDrift>";
    let named = "<EncryptionKey><ds:KeyName>Pre-shared-key</ds:KeyName></EncryptionKey>";
    let genuine = figure_6();
    let another = format!(
        "<KeyPackage><Key Id=\"another\"><Data>{mine}</Data></Key></KeyPackage></KeyContainer>"
    );
    let password = figure_7("Ej7/PEpyEpw=", "1000", "16", "");
    let pskc_another = another
        .replace("</", "</pskc:")
        .replace("<K", "<pskc:K")
        .replace("<D", "<pskc:D")
        .replace("<S", "<pskc:S")
        .replace("<P", "<pskc:P");
    let of_password = format!(
        "{}{pskc_another}",
        until_the_end(&password, "</pskc:KeyContainer>")
    );
    for (document, takes_nothing) in [
        // Another container, without encryption: only a caller without a key accepts it.
        (plain(mine), true),
        (plain(&format!("{mine}{numbers}")), true),
        // The original, with one secret replaced or one key added.
        (container(named, &format!("<Data>{mine}</Data>")), false),
        (
            container(&mac_method(""), &format!("<Data>{mine}</Data>")),
            false,
        ),
        (
            format!("{}{another}", until_the_end(&genuine, "</KeyContainer>")),
            false,
        ),
        (of_password, false),
    ] {
        let read = Container::parse(&document).unwrap();
        for unlock in [
            DecryptionKey::Key(&PRE_SHARED),
            DecryptionKey::Key(&[0; 16]),
            DecryptionKey::Password("qwerty"),
            DecryptionKey::Password("qwertz"),
        ] {
            let refused = read.open(unlock);
            let Err(PskcError::PlainSecret { at }) = refused else {
                panic!("{unlock:?} {refused:?}: {document}");
            };
            let element = document.get(at..).unwrap();
            assert!(element.starts_with("<Secret>") || element.starts_with("<pskc:Secret>"));
        }
        assert_eq!(read.is_encrypted(), !takes_nothing, "{document}");
        match read.open(DecryptionKey::None) {
            Ok(_) => assert!(takes_nothing, "{document}"),
            Err(PskcError::KeyNeeded | PskcError::PasswordNeeded) => assert!(!takes_nothing),
            Err(error) => panic!("{error}: {document}"),
        }
    }
    // Numbers may be plain beside an encrypted secret, in figure 6 and here, and where there is no secret.
    let secret = sealed::authentic("Secret", &sealed::padded(SECRET));
    let key = open(
        &sealed::container(&format!("{secret}{numbers}")),
        DecryptionKey::Key(&PRE_SHARED),
    )
    .unwrap();
    assert_eq!((secret_of(&key), key.data.counter), (SECRET, Some(7)));
    let key = open(&sealed::container(numbers), DecryptionKey::Key(&PRE_SHARED)).unwrap();
    assert_eq!((key.data.secret, key.data.time_drift), (None, Some(-1)));
}

#[test]
fn an_empty_secret_is_refused() {
    for data in ["<PlainValue/>", "<PlainValue> </PlainValue>"] {
        let document = container("", &format!("<Data><Secret>{data}</Secret></Data>"));
        let refused = Container::parse(&document).map(|_| ());
        assert!(
            matches!(refused, Err(PskcError::EmptySecret { .. })),
            "{refused:?}"
        );
    }
}

/// Returns a document without its end.
fn until_the_end<'a>(document: &'a str, end: &str) -> &'a str {
    document.strip_suffix(end).unwrap()
}

#[test]
fn padding_is_one_byte_to_a_whole_block() {
    let open = |blocks: &[u8]| {
        let data = sealed::authentic("Secret", &sealed::cbc(blocks));
        open(&sealed::container(&data), DecryptionKey::Key(&PRE_SHARED))
            .map(|key| secret_of(&key).to_vec())
    };
    let ending = |len: usize, last: u8| {
        let mut blocks = vec![9; len];
        *blocks.last_mut().unwrap() = last;
        blocks
    };
    assert_eq!(open(&ending(32, 1)), Ok(vec![9; 31]));
    // The other padding bytes are ignored (XML Encryption section 5.2).
    assert_eq!(open(&ending(32, 15)), Ok(vec![9; 17]));
    assert_eq!(open(&ending(32, 16)), Ok(vec![9; 16]));
    assert!(matches!(
        open(&ending(16, 16)),
        Err(PskcError::EmptySecret { .. })
    ));
    for (len, last) in [(32, 0), (32, 17), (32, 255), (16, 17)] {
        let refused = open(&ending(len, last));
        assert_eq!(refused, Err(PskcError::Authentication), "{len} {last}");
    }
}

#[test]
fn encrypted_numbers_are_big_endian_of_one_to_eight_bytes() {
    let open = |name: &str, bytes: &[u8]| {
        let data = sealed::authentic(name, &sealed::padded(bytes));
        open(&sealed::container(&data), DecryptionKey::Key(&PRE_SHARED)).map(|key| key.data)
    };
    for (bytes, number) in [
        (&[0][..], 0),
        (&[0xFF], 255),
        (&[1, 0], 256),
        (&[0; 8], 0),
        (&[0x7F, 255, 255, 255, 255, 255, 255, 255], u64::MAX / 2),
    ] {
        let counter = open("Counter", bytes).unwrap().counter;
        assert_eq!(counter, Some(number), "{bytes:?}");
        let time = open("Time", bytes).unwrap();
        assert_eq!((time.time, time.counter), (Some(number), None));
        let interval = open("TimeInterval", bytes).unwrap();
        assert_eq!(
            (interval.time_interval, interval.time),
            (Some(number), None)
        );
    }
    for (bytes, number) in [
        (&[5][..], 5),
        (&[0xFF], -1),
        (&[0x80], -128),
        (&[0, 0x80], 128),
        (&[0xFF, 0xFE], -2),
        (&[0x80, 0, 0, 0, 0, 0, 0, 0], i64::MIN),
    ] {
        let drift = open("TimeDrift", bytes).unwrap().time_drift;
        assert_eq!(drift, Some(number), "{bytes:?}");
    }
    for (name, bytes) in [
        ("Counter", &[][..]),
        ("Counter", &[0; 9]),
        ("Time", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("TimeDrift", &[]),
        ("TimeDrift", &[0; 9]),
    ] {
        let refused = open(name, bytes);
        assert!(
            matches!(refused, Err(PskcError::Number { .. })),
            "{name} {bytes:?}: {refused:?}"
        );
    }
}

#[test]
fn the_longest_salt_and_text_are_taken() {
    let of = |salt: &str, len: &str| {
        let container = Container::parse(&figure_7(salt, "1", len, ""))?;
        Ok::<_, PskcError>(container.key_derivation().map(|derivation| {
            (
                derivation.salt().len(),
                derivation.iterations(),
                derivation.key_len(),
            )
        }))
    };
    let longest = format!("{}AA==", "AAAA".repeat(341));
    assert_eq!(of(&longest, "24"), Ok(Some((1024, 1, 24))));
    let longer = format!("{}AAA=", "AAAA".repeat(341));
    assert!(of(&longer, "24").is_err());
    assert_eq!(of("AAAAAAAAAAA=", "32"), Ok(Some((8, 1, 32))));

    let text = |len: usize| plain("").replace(">Issuer<", &format!(">{}<", "x".repeat(len)));
    assert!(Container::parse(&text(16 * 1024)).is_ok());
    let error = Container::parse(&text(16 * 1024 + 1)).unwrap_err();
    assert!(matches!(error, PskcError::Excessive { what: "text", .. }));
}

#[test]
fn a_derived_key_is_as_long_as_the_cipher_asks_for() {
    let container = Container::parse(&figure_7("Ej7/PEpyEpw=", "1", "32", "")).unwrap();
    let length = PskcError::KeyLength {
        cipher: Cipher::Aes128Cbc,
        expected: 16,
        found: 32,
    };
    assert_eq!(
        container.open(DecryptionKey::Password("qwerty")),
        Err(length)
    );
}
