//! Matrix products and contractions.

use tensor::{Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// `a b` for matrices `[.., m, k]` and `[.., k, n]` with broadcast batches. Derivatives: `dy b^T` and `a^T dy`. Same as
/// `torch.matmul`.
#[derive(Clone, Debug)]
struct Matmul;

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].matmul(inputs[1])
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (a, b) = (saved.var(0), saved.var(1));
        let da = wanted[0].then(|| dy.matmul(&b.transpose(-2, -1)));
        let db = wanted[1].then(|| {
            if b.dims().len() == 2 {
                // One matrix for all batches: one product over all rows instead of a sum of products.
                let rows = |v: &Var| {
                    let (&columns, batch) = v.dims().split_last().expect("a matrix has axes");
                    v.reshape([batch.iter().product(), columns])
                };
                rows(&a).transpose(0, 1).matmul(&rows(dy))
            } else {
                a.transpose(-2, -1).matmul(dy)
            }
        });
        vec![da, db]
    }
    fn macs(&self, inputs: &[Shape], output: &Shape) -> u64 {
        (output.numel() * inputs[0].last().copied().unwrap_or(0)) as u64
    }
}

impl Var {
    /// Matrix product over the last two axes; axes before them are batches and broadcast. A vector on the left is a
    /// row, on the right a column. Same as `torch.matmul`.
    ///
    /// # Panics
    /// As [`Tensor::matmul`].
    #[track_caller]
    pub fn matmul(&self, other: &Var) -> Var {
        let row = self.dims().len() == 1;
        let column = other.dims().len() == 1;
        let a = if row { self.unsqueeze(0) } else { self.clone() };
        let b = if column { other.unsqueeze(1) } else { other.clone() };
        let y = Var::apply(Matmul, &[&a, &b]);
        let y = if row { y.squeeze(-2) } else { y };
        if column { y.squeeze(-1) } else { y }
    }

    /// Products of `[batch, m, k]` and `[batch, k, n]`. Same as `torch.bmm`.
    ///
    /// # Panics
    /// As [`Tensor::bmm`].
    #[track_caller]
    pub fn bmm(&self, other: &Var) -> Var {
        assert!(
            self.dims().len() == 3 && other.dims().len() == 3 && self.dims()[0] == other.dims()[0],
            "bmm: shapes {} and {} are not [batch, m, k] and [batch, k, n]",
            self.shape(),
            other.shape()
        );
        self.matmul(other)
    }

    /// Contraction of two operands by Einstein's convention, `"cij,jmn->cimn"`: labels missing in the output are
    /// summed over. Same as `torch.einsum` for two operands, without `...` and without a label twice in one operand.
    ///
    /// ```
    /// use autograd::Var;
    /// use tensor::Tensor;
    ///
    /// let a = Var::constant(Tensor::new(&[1.0f64, 2.0, 3.0, 4.0], [2, 2]));
    /// let y = Var::einsum("ij,kj->ik", &a, &a);
    /// assert_eq!(y.value().to_vec::<f64>(), [5.0, 11.0, 11.0, 25.0]);
    /// ```
    ///
    /// # Panics
    /// If the equation is not of that form, or does not fit the shapes.
    #[track_caller]
    pub fn einsum(equation: &str, a: &Var, b: &Var) -> Var {
        let parts = equation
            .split_once("->")
            .and_then(|(inputs, output)| Some((inputs.split_once(',')?, output)));
        let Some(((left, right), output)) = parts else {
            panic!("einsum: {equation:?} is not of the form \"ij,jk->ik\"")
        };
        let (a, left) = labeled(equation, a, left, |l| right.contains(l) || output.contains(l));
        let (b, right) = labeled(equation, b, right, |l| left.contains(&l) || output.contains(l));
        let output: Vec<char> = output.chars().collect();
        for (i, l) in output.iter().enumerate() {
            assert!(
                !output[..i].contains(l) && (left.contains(l) || right.contains(l)),
                "einsum: output label {l:?} of {equation:?} must occur once there and in an input"
            );
        }
        let of = |labels: &[char], test: &dyn Fn(&char) -> bool| -> Vec<char> {
            labels.iter().copied().filter(test).collect()
        };
        let batch = of(&left, &|l| right.contains(l) && output.contains(l));
        let summed = of(&left, &|l| right.contains(l) && !output.contains(l));
        let rows = of(&left, &|l| !right.contains(l));
        let columns = of(&right, &|l| !left.contains(l));
        let length = |l: &char| match left.iter().position(|x| x == l) {
            Some(i) => a.dims()[i],
            None => b.dims()[right.iter().position(|x| x == l).expect("a label of b")],
        };
        for l in batch.iter().chain(&summed) {
            let in_b = b.dims()[right.iter().position(|x| x == l).expect("a label of both")];
            assert!(
                length(l) == in_b,
                "einsum: label {l:?} of {equation:?} has length {} in the first operand and {in_b} in the second",
                length(l)
            );
        }
        // [batch, rows, summed] times [batch, summed, columns]
        let a = grouped(&a, &left, [&batch, &rows, &summed]);
        let b = grouped(&b, &right, [&batch, &summed, &columns]);
        let found = [batch, rows, columns].concat();
        let dims: Vec<usize> = found.iter().map(length).collect();
        let order: Vec<usize> =
            output.iter().filter_map(|l| found.iter().position(|x| x == l)).collect();
        a.matmul(&b).reshape(dims).permute(&order)
    }
}

/// `x` summed over the axes whose labels are not `used` elsewhere, and the labels of the others.
#[track_caller]
fn labeled(equation: &str, x: &Var, labels: &str, used: impl Fn(char) -> bool) -> (Var, Vec<char>) {
    let labels: Vec<char> = labels.chars().collect();
    let distinct = labels.iter().enumerate().all(|(i, l)| !labels[..i].contains(l));
    assert!(
        labels.len() == x.dims().len() && distinct && labels.iter().all(|l| l.is_alphabetic()),
        "einsum: {equation:?} does not give each axis of shape {} a letter of its own",
        x.shape()
    );
    let (kept, gone): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|&i| used(labels[i]));
    let gone: Vec<isize> = gone.into_iter().map(|i| i as isize).collect();
    (x.sum_axes(&gone, false), kept.into_iter().map(|i| labels[i]).collect())
}

/// `x` with its axes gathered into three groups, each merged into one axis.
fn grouped(x: &Var, labels: &[char], groups: [&[char]; 3]) -> Var {
    let axis = |l: &char| labels.iter().position(|x| x == l).expect("groups hold these labels");
    let order: Vec<usize> = groups.iter().copied().flatten().map(axis).collect();
    let merged = groups.map(|g| g.iter().map(|l| x.dims()[axis(l)]).product());
    x.permute(&order).reshape(merged)
}

pub(super) const INFO: &[OpInfo] = &[OpInfo { name: "matmul", formula: "a b", case: matmul_case }];

fn matmul_case(d: &mut Draw) -> Case {
    let axes = d.int(0..=2);
    let batch = d.small_shape(axes);
    // 0 among them: a sum of nothing is 0.
    let [m, k, n] = [0; 3].map(|_| d.len(0..=4, 60..=200));
    let mut operand = |matrix: &[usize]| {
        if d.int(0..=4) == 0 {
            // A vector.
            return d.normal([k]);
        }
        let dims: Vec<usize> =
            batch.iter().map(|&len| if d.int(0..=2) == 0 { 1 } else { len }).collect();
        let skip = d.int(0..=dims.len());
        d.normal([&dims[skip..], matrix].concat())
    };
    let inputs = vec![operand(&[m, k]), operand(&[k, n])];
    Case::new(inputs, |v| v[0].matmul(&v[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, properties};

    #[test]
    fn contractions_agree_with_sums_of_products() {
        let mut d = Draw::new("einsum", 0);
        let (a, b) = (d.normal([3, 2, 4]), d.normal([4, 3, 5]));
        // a[c i j] b[j c n], every label in its own axis of [c i j n].
        let product = &a.unsqueeze(-1) * &b.permute(&[1, 0, 2]).unsqueeze(1);
        for (equation, axes, order) in [
            ("cij,jcn->cin", &[2][..], &[0, 1, 2][..]),
            ("cij,jcn->ni", &[0, 2], &[1, 0]),
            ("cij,jcn->jnc", &[1], &[1, 2, 0]),
            ("cij,jcn->", &[0, 1, 2, 3], &[]),
            ("cij,jcn->ncij", &[], &[3, 0, 1, 2]),
        ] {
            let want = product.sum(axes, false).permute(order).to_f64_vec();
            let y = Var::einsum(equation, &Var::constant(a.clone()), &Var::constant(b.clone()));
            for (g, w) in y.value().to_f64_vec().iter().zip(&want) {
                assert!((g - w).abs() < 1e-12, "{equation}: {g}, not {w}");
            }
            assert_eq!(y.value().numel(), want.len());
            gradcheck(move |v| Var::einsum(equation, &v[0], &v[1]), &[a.clone(), b.clone()])
                .unwrap();
        }
        let case = Case::new(vec![a, b], |v| Var::einsum("cij,jcn->nc", &v[0], &v[1]));
        properties(&case).unwrap();
    }

    #[test]
    #[should_panic(
        expected = "einsum: label 'j' of \"ij,jk->ik\" has length 2 in the first operand and 3 in the second"
    )]
    fn lengths_of_a_label_must_agree() {
        let mut d = Draw::new("einsum", 1);
        let (a, b) = (Var::constant(d.normal([2, 2])), Var::constant(d.normal([3, 2])));
        Var::einsum("ij,jk->ik", &a, &b);
    }

    #[test]
    fn a_product_counts_its_multiplications() {
        let shape = |dims: &[usize]| Shape::new(dims);
        let macs = Matmul.macs(&[shape(&[7, 2, 3]), shape(&[3, 5])], &shape(&[7, 2, 5]));
        assert_eq!(macs, 7 * 2 * 3 * 5);
    }
}
