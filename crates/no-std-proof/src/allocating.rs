//! What needs an allocator, and one that has nothing to give: it is linked, never run.

use core::alloc::{GlobalAlloc, Layout};

use keyproof_otp::otpauth::OtpauthUri;

#[cfg_attr(panic = "abort", global_allocator)]
static EMPTY: Empty = Empty;

struct Empty;

// SAFETY: null is how an allocator says that it has nothing left, so no block is ever given out.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Whether the text is an otpauth URI.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub extern "C" fn keyproof_otpauth_parses(uri: &[u8; 64]) -> bool {
    core::str::from_utf8(uri).is_ok_and(|uri| uri.parse::<OtpauthUri>().is_ok())
}
