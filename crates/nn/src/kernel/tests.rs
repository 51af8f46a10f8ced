use super::drive::SHARED;
use super::*;

pub(super) const MATHS: [Math; 2] = [Math::F32, Math::Bf16];

/// Numbers from -1 to 1, the same for the same seed.
pub(super) fn noise<E: Element>(n: usize, seed: u64) -> Vec<E> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        E::of((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
    };
    (0..n).map(|_| next()).collect()
}

/// A matrix within a larger array, row by row or column by column.
#[derive(Clone, Copy)]
struct Place {
    transposed: bool,
    /// Elements between two lines.
    gap: usize,
}

const PLACES: [Place; 3] = [
    Place {
        transposed: false,
        gap: 0,
    },
    Place {
        transposed: true,
        gap: 3,
    },
    Place {
        transposed: false,
        gap: 5,
    },
];

impl Place {
    fn stride(self, rows: usize, cols: usize) -> usize {
        self.gap + if self.transposed { rows } else { cols }
    }

    /// Exactly as long as it must be, so that reading further is noticed where memory is checked.
    fn array<E: Element>(self, rows: usize, cols: usize, seed: u64) -> Vec<E> {
        let lines = if self.transposed { cols } else { rows };
        let n = (self.stride(rows, cols) * lines).saturating_sub(self.gap);
        noise(n, seed)
    }

    fn view<E>(self, x: &[E], rows: usize, cols: usize) -> View<'_, E> {
        let view = View::rows(x, self.stride(rows, cols));
        if self.transposed { view.t() } else { view }
    }

    fn get<E: Element>(self, x: &[E], rows: usize, cols: usize, i: usize, j: usize, math: Math) -> f64 {
        let stride = self.stride(rows, cols);
        let x = x[if self.transposed {
            j * stride + i
        } else {
            i * stride + j
        }]
        .to_f32();
        f64::from(if math == Math::Bf16 {
            Bf16::of(x).to_f32()
        } else {
            x
        })
    }
}

#[derive(Clone, Copy)]
struct Case {
    format: Format,
    math: Math,
    sizes: (usize, usize, usize),
    places: (Place, Place),
    add: bool,
    alpha: f32,
}

/// The product against one in f64 of the operands as rounded; C's other elements must stay.
fn check<A: Element, B: Element, C: Element>(case: Case) {
    let Case {
        format,
        math,
        sizes: (m, n, k),
        places: (pa, pb),
        add,
        alpha,
    } = case;
    let (a, b): (Vec<A>, Vec<B>) = (pa.array(m, k, 1), pb.array(k, n, 2));
    let stride = n + 3;
    let before: Vec<C> = noise((stride * m).saturating_sub(3), 3);
    let mut c = before.clone();
    let (av, bv) = (pa.view(&a, m, k), pb.view(&b, k, n));
    // SAFETY: the arrays have these sizes.
    unsafe {
        product_as(
            format,
            (m, n, k),
            Target::rows(&mut c, stride),
            add,
            alpha,
            av,
            bv,
            Threads::All,
        );
    };
    for (at, (c, before)) in c.iter().zip(&before).enumerate() {
        let (i, j) = (at / stride, at % stride);
        if j >= n {
            assert_eq!(c.to_f32(), before.to_f32(), "element ({i}, {j}) is not part of C");
            continue;
        }
        let (mut sum, mut size) = (0.0, 0.0);
        for l in 0..k {
            let p = pa.get(&a, m, k, i, l, math) * pb.get(&b, k, n, l, j, math);
            sum += p;
            size += p.abs();
        }
        let start = if add { f64::from(before.to_f32()) } else { 0.0 };
        let expected = start + f64::from(alpha) * sum;
        let mut bound = 1e-6 * (f64::from(alpha.abs()) * size + start.abs());
        if C::BF16 {
            bound += expected.abs() / 256.0;
        }
        let got = f64::from(c.to_f32());
        assert!(
            (got - expected).abs() <= bound,
            "{format:?} {}x{n}x{k} A t={} B t={} add={add} alpha={alpha} {}: ({i}, {j}) is {got}, not {expected}",
            m,
            pa.transposed,
            pb.transposed,
            std::any::type_name::<(A, B, C)>()
        );
    }
}

fn check_types(case: Case) {
    check::<f32, f32, f32>(case);
    check::<f32, f32, Bf16>(case);
    check::<f32, Bf16, f32>(case);
    check::<f32, Bf16, Bf16>(case);
    check::<Bf16, f32, f32>(case);
    check::<Bf16, f32, Bf16>(case);
    check::<Bf16, Bf16, f32>(case);
    check::<Bf16, Bf16, Bf16>(case);
}

/// Every level and kind of math with a case for it.
fn each_format(run: impl Fn(Format, Math)) {
    for &level in Level::all() {
        for math in MATHS {
            run(Format::new(level, math), math);
        }
    }
}

#[test]
fn every_tail_is_right() {
    let plain = Case {
        format: Format::native(Math::F32),
        math: Math::F32,
        sizes: (0, 0, 0),
        places: (PLACES[0], PLACES[0]),
        add: false,
        alpha: 1.0,
    };
    each_format(|format, math| {
        for m in 1..=34 {
            for n in [1, 2, 15, 16, 17, 31, 32, 33, 47, 49, 65] {
                let k = 1 + (m * 7 + n) % 40;
                let places = (PLACES[(m + n) % 3], PLACES[(m / 2 + n) % 3]);
                let (add, alpha) = ((m + n) % 2 == 1, [1.0, -0.5][m % 2]);
                let case = Case {
                    format,
                    math,
                    sizes: (m, n, k),
                    places,
                    add,
                    alpha,
                };
                check::<f32, f32, f32>(case);
                check::<Bf16, f32, Bf16>(case);
            }
        }
        for (m, n) in [(1, 1), (15, 33), (40, 3)] {
            for k in 0..70 {
                check::<f32, Bf16, f32>(Case {
                    format,
                    math,
                    sizes: (m, n, k),
                    places: (PLACES[k % 3], PLACES[k / 2 % 3]),
                    ..plain
                });
            }
        }
    });
}

#[test]
fn every_type_and_order_is_right() {
    each_format(|format, math| {
        for (sizes, alpha) in [((17, 50, 37), 1.0), ((45, 19, 130), 0.3)] {
            for pa in PLACES {
                for pb in PLACES {
                    for add in [false, true] {
                        check_types(Case {
                            format,
                            math,
                            sizes,
                            places: (pa, pb),
                            add,
                            alpha,
                        });
                    }
                }
            }
        }
    });
}

/// The error of a product in f32 beside the root of its squares' sum, which it is compared with where it is of random signs.
fn error(format: Format, (m, n, k): (usize, usize, usize)) -> f64 {
    // Of all sizes from 2^-12 to 2^12.
    let wide = |n: usize, seed| {
        let spread: Vec<f32> = noise(n, seed + 10);
        let values: Vec<f32> = noise(n, seed);
        let scaled = values.iter().zip(spread).map(|(x, by)| x * (12.0 * by).exp2());
        scaled.collect::<Vec<f32>>()
    };
    let (a, b, mut c) = (wide(m * k, 1), wide(k * n, 2), vec![0f32; m * n]);
    let (av, bv) = (View::rows(&a, k), View::rows(&b, n));
    let c_all = Target::rows(&mut c, n);
    // SAFETY: the arrays have these sizes.
    unsafe { product_as(format, (m, n, k), c_all, false, 1.0, av, bv, Threads::One) };
    let of = |(at, c): (usize, &f32)| {
        let each = (0..k).map(|l| f64::from(a[at / n * k + l]) * f64::from(b[l * n + at % n]));
        let (sum, squares) = each.fold((0.0, 0.0), |(sum, squares), p| (sum + p, squares + p * p));
        (f64::from(*c) - sum).powi(2) / squares
    };
    (c.iter().enumerate().map(of).sum::<f64>() / (m * n) as f64).sqrt()
}

#[test]
fn no_level_sums_f32_less_exactly_than_plain_code() {
    for sizes in [(40, 40, 30), (40, 40, 500), (40, 40, 3000)] {
        let plain = error(Format::new(Level::Portable, Math::F32), sizes);
        for &level in Level::all() {
            let error = error(Format::new(level, Math::F32), sizes);
            assert!(error < 1.1 * plain, "{level:?} {sizes:?}: {error} and {plain}");
        }
    }
}

#[test]
fn long_sums_are_right() {
    each_format(|format, math| {
        // Several stripes; several blocks of k; a shared operand that is cut along k.
        let sizes = [(200, 300, 64), (30, 70, 4 * BLOCK + 3), (40, 33, SHARED / 16 + 1)];
        for (which, sizes) in sizes.into_iter().enumerate() {
            // The last takes long to check; the driver is the same for all levels.
            if which == 2 && format != Format::native(math) {
                continue;
            }
            let places = (PLACES[which], PLACES[(which + 1) % 3]);
            let case = Case {
                format,
                math,
                sizes,
                places,
                add: which > 0,
                alpha: 0.7,
            };
            check::<f32, f32, f32>(case);
            check::<Bf16, f32, Bf16>(case);
        }
    });
}

#[test]
fn large_ones_are_what_their_parts_are() {
    // Both operands and the sums are larger than their scratch.
    let (m, n, k) = (2100, 2090, 2200);
    let (a, b): (Vec<Bf16>, Vec<f32>) = (noise(m * k, 1), noise(k * n, 2));
    for math in MATHS {
        let mut whole = vec![Bf16::default(); m * n];
        let (av, bv) = (View::rows(&a, k), View::rows(&b, n));
        // SAFETY: the arrays have these sizes.
        unsafe {
            product(
                (m, n, k),
                Target::rows(&mut whole, n),
                false,
                1.0,
                av,
                bv,
                math,
                Threads::All,
            );
        };
        for (rows, cols) in [(0..m, 2040..2060), (500..520, 0..n), (m - 5..m, 0..n)] {
            let mut part = vec![Bf16::default(); rows.len() * cols.len()];
            let sizes = (rows.len(), cols.len(), k);
            let (av, bv) = (
                View::rows(&a[rows.start * k..], k),
                View::rows(&b[cols.start..], n),
            );
            // SAFETY: the parts lie within the arrays.
            unsafe {
                let c = Target::rows(&mut part, cols.len());
                product(sizes, c, false, 1.0, av, bv, math, Threads::One);
            }
            for (i, part) in rows.zip(part.chunks(cols.len())) {
                assert!(
                    part == &whole[i * n + cols.start..][..cols.len()],
                    "{math:?} row {i}, columns {cols:?}"
                );
            }
        }
    }
}

/// A product's bits, computed by so many threads.
fn bits<C: Element>(threads: usize, (m, n, k): (usize, usize, usize), math: Math) -> Vec<u32> {
    let (a, b): (Vec<Bf16>, Vec<f32>) = (noise(m * k, 1), noise(k * n, 2));
    let mut c: Vec<C> = noise(m * n, 3);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads can be started");
    let (av, bv) = (View::rows(&a, k), View::rows(&b, n));
    // SAFETY: the arrays have these sizes.
    pool.install(|| unsafe {
        product(
            (m, n, k),
            Target::rows(&mut c, n),
            true,
            0.5,
            av,
            bv,
            math,
            Threads::All,
        );
    });
    c.iter().map(|c| c.to_f32().to_bits()).collect()
}

#[test]
fn threads_and_position_do_not_change_a_bit() {
    for math in MATHS {
        for sizes in [(300, 80, 70), (70, 310, 129), (40, 90, 5000)] {
            let one = (bits::<f32>(1, sizes, math), bits::<Bf16>(1, sizes, math));
            for threads in [2, 3] {
                assert!(
                    one == (
                        bits::<f32>(threads, sizes, math),
                        bits::<Bf16>(threads, sizes, math)
                    )
                );
            }
        }
        // The same rows and columns as a part of another product, where the other operand is the shared one.
        let (m, n, k) = (90, 200, 333);
        let (a, b): (Vec<f32>, Vec<f32>) = (noise(m * k, 1), noise(k * n, 2));
        let (mut whole, mut part) = (vec![0f32; m * n], vec![0f32; 71 * 39]);
        // SAFETY: the parts lie within the arrays.
        unsafe {
            let (av, bv) = (View::rows(&a, k), View::rows(&b, n));
            product(
                (m, n, k),
                Target::rows(&mut whole, n),
                false,
                1.0,
                av,
                bv,
                math,
                Threads::One,
            );
            let (av, bv) = (View::rows(&a[3 * k..], k), View::rows(&b[101..], n));
            product(
                (71, 39, k),
                Target::rows(&mut part, 39),
                false,
                1.0,
                av,
                bv,
                math,
                Threads::One,
            );
        }
        for (i, row) in part.chunks(39).enumerate() {
            assert_eq!(row, &whole[(i + 3) * n + 101..][..39]);
        }
    }
}

#[test]
fn rounding_to_bf16_is_to_the_nearest_even() {
    let cases = [
        (1.0, 1.0),
        (1.003_906_3, 1.0),         // half way between 1 and 1 + 2^-7, down to even
        (1.011_718_8, 1.015_625),   // half way, up to even
        (1.003_906_5, 1.007_812_5), // just above half way
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (-0.0, -0.0),
    ];
    for (x, y) in cases {
        assert_eq!(Bf16::of(x).to_f32().to_bits(), f32::to_bits(y), "{x}");
    }
    assert!(Bf16::of(f32::from_bits(0x7F80_0001)).to_f32().is_nan());
    assert!(Bf16::of(f32::from_bits(0xFFFF_FFFF)).to_f32().is_nan());
    // Each level rounds operands and results in the same way: x * 1 is x rounded, also written to bf16.
    let x: Vec<f32> = noise::<f32>(3000, 5)
        .into_iter()
        .chain(cases.map(|(x, _)| x))
        .collect();
    each_format(|format, _| {
        let mut y = vec![Bf16::default(); x.len()];
        let c = Target::rows(&mut y, 1);
        // SAFETY: the arrays have these sizes.
        unsafe {
            let (a, b) = (View::rows(&x, 1), View::rows(&[1f32], 1));
            product_as(format, (x.len(), 1, 1), c, false, 1.0, a, b, Threads::One);
        }
        for (x, y) in x.iter().zip(&y) {
            // A product and a sum with 0 turn -0 into 0.
            let same = Bf16::of(*x).to_f32() == y.to_f32();
            let too_large = format.unit == Unit::Thirds && (x.is_infinite() || x.abs() == f32::MAX);
            assert!(same || too_large && y.to_f32().is_nan(), "{format:?} {x}: {y:?}");
        }
    });
}

#[test]
fn nan_and_infinity_come_out() {
    each_format(|format, _| {
        let (m, n, k) = (20, 40, 9);
        let (mut a, mut b): (Vec<f32>, Vec<f32>) = (vec![1.0; m * k], vec![1.0; k * n]);
        a[3 * k + 8] = f32::NAN;
        a[5 * k + 2] = f32::INFINITY;
        b[2 * n + 7] = 0.0; // infinity times 0 is NaN
        b[4 * n + 9] = f32::NEG_INFINITY; // and infinity less infinity
        a[6 * k + 4] = 0.0;
        let mut c = vec![Bf16::of(f32::NAN); m * n];
        // SAFETY: the arrays have these sizes.
        unsafe {
            let (a, b) = (View::rows(&a, k), View::rows(&b, n));
            product_as(
                format,
                (m, n, k),
                Target::rows(&mut c, n),
                false,
                1.0,
                a,
                b,
                Threads::One,
            );
        }
        for i in 0..m {
            for j in 0..n {
                let c = c[i * n + j].to_f32();
                match (i, j) {
                    // Infinity has no thirds.
                    (5, _) | (_, 9) if format.unit == Unit::Thirds => assert!(c.is_nan(), "({i}, {j}): {c}"),
                    (3, _) | (5, 7 | 9) | (6, 9) => assert!(c.is_nan(), "{format:?} ({i}, {j}): {c}"),
                    (5, _) => assert_eq!(c, f32::INFINITY, "{format:?} ({i}, {j})"),
                    (_, 9) => assert_eq!(c, f32::NEG_INFINITY, "{format:?} ({i}, {j})"),
                    (6, 7) => assert_eq!(c, 7.0, "{format:?} ({i}, {j})"),
                    (6, _) | (_, 7) => assert_eq!(c, 8.0, "{format:?} ({i}, {j})"),
                    _ => assert_eq!(c, 9.0, "{format:?} ({i}, {j})"),
                }
            }
        }
    });
}

#[test]
fn an_empty_sum_is_zero() {
    each_format(|format, _| {
        for add in [false, true] {
            let mut c = vec![7f32; 15];
            let none: [f32; 0] = [];
            // SAFETY: there is nothing to read.
            unsafe {
                let (a, b) = (View::rows(&none, 0), View::rows(&none, 5));
                product_as(
                    format,
                    (3, 5, 0),
                    Target::rows(&mut c, 5),
                    add,
                    1.0,
                    a,
                    b,
                    Threads::All,
                );
                product_as(
                    format,
                    (0, 5, 0),
                    Target::rows(&mut c, 5),
                    false,
                    1.0,
                    a,
                    b,
                    Threads::All,
                );
            }
            assert_eq!(c, vec![if add { 7.0 } else { 0.0 }; 15]);
        }
    });
}
