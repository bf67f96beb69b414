//! The checks of a proof of possession.

crate::checks! {
    /// A check of a proof of possession, in the order of reports. Names and order are stable.
    #[non_exhaustive]
    pub ProofCheck {
        /// `leaf`: the upload is one certificate in strict DER.
        Leaf = "leaf", "the leaf is one certificate";
        /// `code`: the code was issued for this CA certificate and has not expired.
        Code = "code", "the code is live and for this certificate";
        /// `issuer`: the leaf's issuer is the CA's subject.
        Issuer = "issuer", "the leaf's issuer is the CA's subject, byte for byte";
        /// `signature`: the leaf's signature over the received bytes verifies under the CA's key.
        Signature = "signature", "the signature verifies";
        /// `common-name`: the leaf's subject has exactly one common name, and it is the code.
        CommonName = "common-name", "the leaf's one common name is the code";
        /// `leaf-validity`: the leaf is valid at the time of the check.
        LeafValidity = "leaf-validity", "the leaf is valid now" | "the leaf is valid at that time";
        /// `ca-validity`: the CA certificate is valid at the time of the check.
        CaValidity = "ca-validity",
            "the CA certificate is valid now" | "the CA certificate is valid at that time";
        /// `not-the-ca`: the leaf is not the CA certificate itself.
        NotTheCa = "not-the-ca", "the leaf is another certificate than the CA's";
        /// `ca-constraints`: the CA's basicConstraints mark it as a CA.
        CaConstraints = "ca-constraints", "the CA certificate says CA:TRUE";
        /// `ca-key-usage`: the CA's keyUsage, if present, allows it to sign certificates.
        CaKeyUsage = "ca-key-usage", "the CA certificate may sign certificates";
        /// `leaf-constraints`: the leaf's basicConstraints and keyUsage are not those of a CA.
        LeafConstraints = "leaf-constraints", "the leaf does not say CA:TRUE";
        /// `key-strength`: the keys are strong enough.
        KeyStrength = "key-strength", "the keys are strong enough";
        /// `hash-strength`: the hashes of the signatures are strong enough.
        HashStrength = "hash-strength", "the hashes are strong enough";
        /// `leaf-extensions`: the leaf's extensions are well-formed, and its critical ones are known.
        LeafExtensions = "leaf-extensions", "no unknown critical extension in the leaf";
        /// `ca-extensions`: the CA certificate's extensions are well-formed, and its critical ones are known.
        CaExtensions = "ca-extensions", "no unknown critical extension in the CA certificate";
        /// `version`: both certificates are of version 3.
        Version = "version", "both certificates are of version 3";
        /// `serial`: both serial numbers are positive and of at most 20 octets.
        Serial = "serial", "both serial numbers are in order";
    }
}
