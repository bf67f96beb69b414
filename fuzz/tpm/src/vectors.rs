//! Outputs of a software TPM, the same as in the crate's own tests.

macro_rules! vector {
    ($file:literal) => {
        include_bytes!(concat!("../vectors/", $file))
    };
    ($folder:literal, $file:literal) => {
        include_bytes!(concat!("../vectors/", $folder, "/", $file))
    };
}

pub(crate) use vector;
