//! The shape of a mask in three numbers (Fig. 5): how large, how stretched, and pointing where.
//!
//! They come from the singular values and right singular vectors of `C`. A mask is long where `C` is small, so the second
//! right singular vector points along the mask. For `p = 2` the three numbers determine the mask; for other `p` the left
//! singular vectors also rotate the Lp ball itself, which [`Conformation`] does not see.

use crate::error::{Error, check_finite, check_positive};

/// Distortions below this count as isotropic: the direction of the long axis is rounding noise.
const ISOTROPIC: f64 = 1.0 + 1e-6;

/// The singular value decomposition `M = U diag(s) Vᵀ` of a 2×2 matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Svd2 {
    /// Left singular vectors, in columns.
    pub u: [[f64; 2]; 2],
    /// Singular values, `s[0] >= s[1] >= 0`.
    pub s: [f64; 2],
    /// Right singular vectors, in rows.
    pub vt: [[f64; 2]; 2],
}

impl Svd2 {
    /// Decomposes `m` (row-major) in closed form, accurate also where `m` is nearly singular or nearly isotropic.
    ///
    /// `m` is the sum of a scaled rotation, of size `q`, and a scaled reflection, of size `r`. The singular values are
    /// `q + r` and `|q − r|`; the latter is taken as `|det| / (q + r)`, which keeps its relative accuracy where `q ≈ r`.
    /// `Vᵀ` is a rotation; `U` is one times a reflection where `det m < 0`. Non-finite input gives NaN.
    pub fn new(m: [[f64; 2]; 2]) -> Self {
        let largest = m.as_flattened().iter().fold(0.0f64, |a, v| a.max(v.abs()));
        if largest == 0.0 {
            let identity = [[1.0, 0.0], [0.0, 1.0]];
            return Svd2 { u: identity, s: [0.0; 2], vt: identity };
        }
        let [[a, b], [c, d]] = m.map(|row| row.map(|v| v / largest));
        let (rotation_cos, rotation_sin) = ((a + d) / 2.0, (c - b) / 2.0);
        let (reflection_cos, reflection_sin) = ((a - d) / 2.0, (c + b) / 2.0);
        let large = rotation_cos.hypot(rotation_sin) + reflection_cos.hypot(reflection_sin);
        let det = difference_of_products(a, d, b, c);

        let sum_rad = rotation_sin.atan2(rotation_cos);
        let difference_rad = reflection_sin.atan2(reflection_cos);
        let u = rotation((sum_rad + difference_rad) / 2.0);
        let sign = if det < 0.0 { -1.0 } else { 1.0 };
        Svd2 {
            u: [[u[0][0], sign * u[0][1]], [u[1][0], sign * u[1][1]]],
            s: [large * largest, det.abs() / large * largest],
            vt: rotation((sum_rad - difference_rad) / 2.0),
        }
    }
}

/// Size, stretch and direction of the mask of a matrix `C` (paper, section 4.3).
///
/// With the singular values `l0 >= l1` of `C` and its second right singular vector `(v_row, v_col)`:
/// `scale α = √(l0⁻² + l1⁻²)` in the units of the offsets (pixels), `distortion γ = l0/l1`,
/// `rotation θ = atan2(v_row, v_col) mod 180°`.
///
/// The paper prints `arctan(sin(Vᵀ[1]) / cos(Vᵀ[1]))` for θ; this is the reading of it that agrees with its words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conformation {
    /// `α > 0`: large for a large mask.
    pub scale: f64,
    /// `γ >= 1`: 1 for an isotropic mask.
    pub distortion: f64,
    /// `θ` in `[0, 180)` degrees: 0 is long along the width, 90 along the height, growing from +column to +row
    /// (downwards). NaN where `distortion < 1 + 1e-6`.
    pub rotation_deg: f64,
}

impl Conformation {
    /// The conformation of the mask with matrix `c` (row-major; first component of offsets = row).
    ///
    /// # Errors
    /// When a value of `c` is not finite, or `c` is singular: its mask is infinitely long.
    pub fn new(c: [[f64; 2]; 2]) -> Result<Self, Error> {
        check_finite("C", c.as_flattened().iter().copied())?;
        let Svd2 { s, vt, .. } = Svd2::new(c);
        let scale = (1.0 / s[0]).hypot(1.0 / s[1]);
        let distortion = s[0] / s[1];
        if !scale.is_finite() || !distortion.is_finite() {
            return Err(Error::Singular { c: c.map(|row| row.to_vec()).to_vec() });
        }
        let [row, column] = vt[1];
        let rotation_deg = if distortion < ISOTROPIC {
            f64::NAN
        } else {
            half_turn(row.atan2(column).to_degrees())
        };
        Ok(Conformation { scale, distortion, rotation_deg })
    }

    /// The matrix `C = diag(l0, l1) Vᵀ` of this conformation, the one with `U = I` (Fig. 5a).
    ///
    /// `l1 = √(1 + γ⁻²) / α`, `l0 = γ l1`, `Vᵀ = [[cos θ, −sin θ], [sin θ, cos θ]]`. A NaN rotation of an isotropic
    /// conformation counts as 0.
    ///
    /// # Errors
    /// When `scale` is not finite and positive, `distortion` not finite and at least 1, or `rotation_deg` not finite
    /// although the conformation is not isotropic.
    pub fn to_c(&self) -> Result<[[f64; 2]; 2], Error> {
        let Conformation { scale, distortion, rotation_deg } = *self;
        check_positive("scale", scale)?;
        if !distortion.is_finite() || distortion < 1.0 {
            let expected = "finite and at least 1";
            return Err(Error::Parameter { name: "distortion", value: distortion, expected });
        }
        let angle_deg =
            if rotation_deg.is_nan() && distortion < ISOTROPIC { 0.0 } else { rotation_deg };
        if !angle_deg.is_finite() {
            let expected = "finite unless distortion < 1 + 1e-6";
            return Err(Error::Parameter { name: "rotation_deg", value: rotation_deg, expected });
        }
        let l1 = 1.0f64.hypot(1.0 / distortion) / scale;
        let vt = rotation(angle_deg.to_radians());
        Ok([vt[0].map(|v| v * distortion * l1), vt[1].map(|v| v * l1)])
    }
}

/// An angle brought into `[0, 180)` degrees.
fn half_turn(angle_deg: f64) -> f64 {
    let turned = angle_deg.rem_euclid(180.0);
    // A tiny negative angle rounds to 180 itself.
    if turned < 180.0 { turned } else { 0.0 }
}

fn rotation(angle_rad: f64) -> [[f64; 2]; 2] {
    let (sin, cos) = angle_rad.sin_cos();
    [[cos, -sin], [sin, cos]]
}

/// `a d − b c` within 1.5 units in the last place (Kahan; Jeannerod et al., Math. Comp. 82 (2013)).
fn difference_of_products(a: f64, d: f64, b: f64, c: f64) -> f64 {
    let product = b * c;
    let error = (-b).mul_add(c, product);
    a.mul_add(d, -product) + error
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rebuild(svd: &Svd2) -> [[f64; 2]; 2] {
        std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..2).map(|k| svd.u[i][k] * svd.s[k] * svd.vt[k][j]).sum())
        })
    }

    fn assert_svd(m: [[f64; 2]; 2]) {
        let svd = Svd2::new(m);
        assert!(svd.s[0] >= svd.s[1] && svd.s[1] >= 0.0, "{svd:?}");
        for (found, expected) in rebuild(&svd).as_flattened().iter().zip(m.as_flattened()) {
            assert!((found - expected).abs() <= 1e-14 * svd.s[0], "{m:?}: {svd:?}");
        }
        for q in [svd.u, svd.vt] {
            assert!((q[0][0] * q[1][0] + q[0][1] * q[1][1]).abs() < 1e-14);
            assert!((q[0][0].hypot(q[0][1]) - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn diagonal_matrices_have_the_angles_of_the_definition() {
        let wide = Conformation::new([[2.0, 0.0], [0.0, 1.0]]).unwrap();
        assert!(
            (wide.distortion - 2.0).abs() < 1e-14 && (wide.scale - 1.25f64.sqrt()).abs() < 1e-14
        );
        assert!(wide.rotation_deg.abs() < 1e-12);
        let tall = Conformation::new([[1.0, 0.0], [0.0, 2.0]]).unwrap();
        assert!((tall.rotation_deg - 90.0).abs() < 1e-12);
        let flipped = Conformation::new([[1.0, 0.0], [0.0, -2.0]]).unwrap();
        assert!((flipped.rotation_deg - 90.0).abs() < 1e-12);
    }

    #[test]
    fn angles_grow_downwards() {
        // Long along (row, column) = (1, 1): towards +row from +column is 45 degrees.
        let c = Conformation { scale: 3.0, distortion: 4.0, rotation_deg: 45.0 }.to_c().unwrap();
        let along = crate::lp_mask_value(2.0, &c, [1.0, 1.0]);
        let across = crate::lp_mask_value(2.0, &c, [1.0, -1.0]);
        assert!(along > 2.0 * across, "{along} along the axis, {across} across it");
    }

    #[test]
    fn a_scaled_rotation_has_no_direction() {
        let shape = Conformation::new(rotation(0.3).map(|row| row.map(|v| 0.5 * v))).unwrap();
        assert!(shape.rotation_deg.is_nan());
        assert!(
            (shape.distortion - 1.0).abs() < 1e-14 && (shape.scale - 8f64.sqrt()).abs() < 1e-14
        );
        let c = shape.to_c().unwrap();
        assert!((c[0][0] - 0.5).abs() < 1e-14 && c[0][1] == 0.0);
    }

    #[test]
    fn near_singular_and_near_isotropic_matrices_keep_their_accuracy() {
        // det = 2⁻⁴⁰ exactly, s0² + s1² is the sum of squares: s1 = det / s0 is known to full precision.
        let tiny = 2f64.powi(-40);
        let near_singular = [[1.0, 1.0], [1.0, 1.0 + tiny]];
        assert_svd(near_singular);
        let s1 = Svd2::new(near_singular).s[1];
        assert!((s1 / (tiny / (2.0 + tiny / 2.0)) - 1.0).abs() < 1e-12, "{s1:e}");

        for epsilon in [1e-5, 1e-9, 1e-15] {
            assert_svd([[1.0 + epsilon, 0.0], [0.0, 1.0]]);
            assert_svd([[1.0, epsilon], [epsilon, 1.0]]);
        }
        let shape = Conformation::new([[1.0, -1e-5], [-1e-5, 1.0]]).unwrap();
        // C is smallest along (1, 1).
        assert!((shape.rotation_deg - 45.0).abs() < 1e-8, "{shape:?}");
        for scale in [1e-200, 1e200] {
            assert_svd([[scale, 2.0 * scale], [-scale, 0.5 * scale]]);
        }
        assert_svd([[0.0; 2]; 2]);
        assert_svd([[0.0, 3.0], [0.0, 0.0]]);
    }

    #[test]
    fn impossible_shapes_are_errors() {
        for c in [[[1.0, 2.0], [2.0, 4.0]], [[0.0; 2]; 2]] {
            let error = Conformation::new(c).unwrap_err();
            assert!(matches!(error, Error::Singular { .. }), "{error}");
        }
        let error = Conformation::new([[1.0, f64::INFINITY], [0.0, 1.0]]).unwrap_err();
        assert!(matches!(error, Error::NonFinite { index: 1, .. }), "{error}");
        let shape = Conformation { scale: 1.0, distortion: 2.0, rotation_deg: 30.0 };
        assert!(Conformation { scale: 0.0, ..shape }.to_c().is_err());
        assert!(Conformation { distortion: 0.5, ..shape }.to_c().is_err());
        assert!(Conformation { rotation_deg: f64::NAN, ..shape }.to_c().is_err());
    }

    proptest! {
        #[test]
        fn svd_rebuilds_any_matrix(m in prop::array::uniform2(prop::array::uniform2(-10.0..10.0f64))) {
            assert_svd(m);
        }

        #[test]
        fn conformation_survives_the_round_trip(
            scale in 0.1..20.0f64, distortion in 1.001..50.0f64, rotation_deg in 0.0..180.0f64,
        ) {
            let shape = Conformation { scale, distortion, rotation_deg };
            let back = Conformation::new(shape.to_c().unwrap()).unwrap();
            prop_assert!((back.scale / scale - 1.0).abs() < 1e-12);
            prop_assert!((back.distortion / distortion - 1.0).abs() < 1e-12);
            let turn = (back.rotation_deg - rotation_deg).abs();
            prop_assert!(turn.min(180.0 - turn) < 1e-9, "{} became {}", rotation_deg, back.rotation_deg);
        }

        #[test]
        fn rotation_agrees_with_the_closed_form(m in prop::array::uniform2(prop::array::uniform2(-3.0..3.0f64))) {
            let [[a, b], [c, d]] = m;
            let (aa, ab, bb) = (a * a + c * c, a * b + c * d, b * b + d * d);
            let shape = Conformation::new(m);
            prop_assume!(shape.as_ref().is_ok_and(|s| s.distortion > 1.01));
            let expected = (-90.0 / std::f64::consts::PI * (2.0 * ab).atan2(aa - bb)).rem_euclid(180.0);
            let turn = (shape.unwrap().rotation_deg - expected).abs();
            prop_assert!(turn.min(180.0 - turn) < 1e-9);
        }
    }
}
