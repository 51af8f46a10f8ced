//! Laying one set of points over another with the least squared distance.

use std::ops::{Add, Mul, Sub};

/// A place in double precision, in angstrom.
pub(crate) type Place = [f64; 3];

/// A rotation and then a shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Row by row.
    pub rotation: [[f64; 3]; 3],
    /// In angstrom.
    pub shift: [f64; 3],
}

impl Motion {
    /// Where it takes a point.
    pub fn apply(&self, p: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|i| dot(self.rotation[i], p) + self.shift[i])
    }
}

/// The motion that lays `moving` over `fixed`, point by point, with the least root mean square distance. It never
/// mirrors. Horn's method (1987, J. Opt. Soc. Am. A 4, 629): the rotation is the quaternion that belongs to the
/// largest eigenvalue of a symmetric 4 x 4 matrix made of the points' covariances.
///
/// # Panics
/// If there are not equally many of both, or none.
pub fn superpose(moving: &[[f64; 3]], fixed: &[[f64; 3]]) -> Motion {
    assert_eq!(moving.len(), fixed.len(), "each point has a partner");
    assert!(!moving.is_empty(), "there are points to lay over each other");
    let (from, to) = (centre(moving), centre(fixed));
    let mut s = [[0.0; 3]; 3];
    for (a, b) in moving.iter().zip(fixed) {
        for i in 0..3 {
            for j in 0..3 {
                s[i][j] += (a[i] - from[i]) * (b[j] - to[j]);
            }
        }
    }
    let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = s;
    let rotation = rotation(largest_eigenvector([
        [xx + yy + zz, yz - zy, zx - xz, xy - yx],
        [yz - zy, xx - yy - zz, xy + yx, zx + xz],
        [zx - xz, xy + yx, yy - xx - zz, yz + zy],
        [xy - yx, zx + xz, yz + zy, zz - xx - yy],
    ]));
    Motion {
        rotation,
        shift: std::array::from_fn(|i| to[i] - dot(rotation[i], from)),
    }
}

/// The matrix of a unit quaternion, in f32 or f64.
pub(crate) fn rotation<T>([w, x, y, z]: [T; 4]) -> [[T; 3]; 3]
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T>,
{
    let twice = |a: T| a + a;
    [
        [
            w * w + x * x - y * y - z * z,
            twice(x * y - w * z),
            twice(x * z + w * y),
        ],
        [
            twice(x * y + w * z),
            w * w - x * x + y * y - z * z,
            twice(y * z - w * x),
        ],
        [
            twice(x * z - w * y),
            twice(y * z + w * x),
            w * w - x * x - y * y + z * z,
        ],
    ]
}

/// The root mean square distance of points laid over each other as well as can be, in angstrom.
///
/// # Panics
/// If there are not equally many of both, or none.
pub fn rmsd(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    let motion = superpose(a, b);
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| square_distance(motion.apply(*a), *b));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

pub(crate) fn dot(a: Place, b: Place) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn minus(a: Place, b: Place) -> Place {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn cross(a: Place, b: Place) -> Place {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

pub(crate) fn square_distance(a: Place, b: Place) -> f64 {
    let d = minus(a, b);
    dot(d, d)
}

fn centre(points: &[Place]) -> Place {
    std::array::from_fn(|i| points.iter().map(|p| p[i]).sum::<f64>() / points.len() as f64)
}

/// The unit eigenvector of the largest eigenvalue, by Jacobi's rotations: each sets a pair of elements beside the
/// diagonal to zero, and four rounds over all pairs leave nothing that f64 could tell.
fn largest_eigenvector(mut a: [[f64; 4]; 4]) -> [f64; 4] {
    const MOST_ROUNDS: usize = 32;
    let mut vectors = [[0.0; 4]; 4];
    for (i, row) in vectors.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for _ in 0..MOST_ROUNDS {
        let off: f64 = (0..4)
            .flat_map(|i| (i + 1..4).map(move |j| (i, j)))
            .map(|(i, j)| a[i][j].abs())
            .sum();
        let size: f64 = (0..4).map(|i| a[i][i].abs()).sum();
        if off <= size * 1e-15 {
            break;
        }
        for p in 0..4 {
            for q in p + 1..4 {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = 1.0f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
                for row in &mut vectors {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
            }
        }
    }
    let largest = (0..4).max_by(|i, j| a[*i][*i].total_cmp(&a[*j][*j])).unwrap_or(0);
    vectors.map(|row| row[largest])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn points(random: &mut Random, n: usize) -> Vec<Place> {
        (0..n)
            .map(|_| std::array::from_fn(|_| 10.0 * random.normal()))
            .collect()
    }

    #[test]
    fn a_moved_structure_is_moved_back_and_a_mirrored_one_is_not() {
        let mut random = Random::new(7);
        for n in [1, 2, 3, 4, 50] {
            let a = points(&mut random, n);
            let (s, c) = (0.3f64 + n as f64).sin_cos();
            let turn = |p: &Place| [c * p[0] - s * p[1] + 3.0, s * p[0] + c * p[1] - 40.0, p[2] + 1.0];
            let b: Vec<Place> = a.iter().map(turn).collect();
            assert!(rmsd(&a, &b) < 1e-9, "{n} points");
            let m = superpose(&a, &b).rotation;
            let determinant = dot(m[0], cross(m[1], m[2]));
            assert!((determinant - 1.0).abs() < 1e-12);
        }
        let a = points(&mut random, 40);
        let mirrored: Vec<Place> = a.iter().map(|p| [p[0], p[1], -p[2]]).collect();
        assert!(rmsd(&a, &mirrored) > 5.0);
    }

    #[test]
    fn no_small_turn_does_better() {
        let mut random = Random::new(8);
        let (a, b) = (points(&mut random, 12), points(&mut random, 12));
        let best = superpose(&a, &b);
        let square = |motion: &Motion| -> f64 {
            a.iter()
                .zip(&b)
                .map(|(a, b)| square_distance(motion.apply(*a), *b))
                .sum()
        };
        for axis in 0..3 {
            for angle in [-1e-3f64, 1e-3] {
                let (s, c) = angle.sin_cos();
                let (i, j) = ((axis + 1) % 3, (axis + 2) % 3);
                let mut turned = best;
                for k in 0..3 {
                    turned.rotation[i][k] = c * best.rotation[i][k] - s * best.rotation[j][k];
                    turned.rotation[j][k] = s * best.rotation[i][k] + c * best.rotation[j][k];
                }
                // About the fixed points' centre, where the best shift is still the best.
                let (from, to) = (centre(&a), centre(&b));
                turned.shift = std::array::from_fn(|i| to[i] - dot(turned.rotation[i], from));
                assert!(square(&turned) >= square(&best));
            }
        }
    }
}
