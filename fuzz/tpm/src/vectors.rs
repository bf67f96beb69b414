//! What a software TPM made, as the crate's own tests have it.

macro_rules! vector {
    ($file:literal) => {
        include_bytes!(concat!("../vectors/", $file))
    };
    ($folder:literal, $file:literal) => {
        include_bytes!(concat!("../vectors/", $folder, "/", $file))
    };
}

pub(crate) use vector;
