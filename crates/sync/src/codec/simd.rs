//! Functions built three times (AVX-512, AVX2, portable) and chosen at run time, so that a plain
//! `cargo build` runs at the machine's speed. Nothing in them depends on the width of a register: no fused
//! multiply-add, no sum in another order. So every level gives the same bits, which a test compares.

#![allow(unsafe_code, reason = "vector code is chosen at run time")]

/// Instructions to build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    /// All that this processor can run, the fastest first.
    pub(crate) fn all() -> Vec<Self> {
        #[allow(unused_mut, reason = "other architectures have one level")]
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            levels.insert(0, Self::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                levels.insert(0, Self::Avx512);
            }
        }
        levels
    }
}

/// The fastest that this processor can run.
pub(crate) fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| Level::all()[0])
}

/// Builds a function for each level; the level becomes its first argument.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident ($($arg:ident: $type:ty),* $(,)?) -> $out:ty $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "vector code is chosen at run time")]
        $vis fn $name(level: $crate::codec::simd::Level, $($arg: $type),*) -> $out {
            #[inline(always)]
            fn body($($arg: $type),*) -> $out $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2")]
            fn avx512($($arg: $type),*) -> $out { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) -> $out { body($($arg),*) }
            match level {
                // SAFETY: a level is only ever one of `Level::all`, which asked the processor.
                #[cfg(target_arch = "x86_64")]
                $crate::codec::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::codec::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                $crate::codec::simd::Level::Portable => body($($arg),*),
            }
        }
    };
}
pub(crate) use vectorised;
