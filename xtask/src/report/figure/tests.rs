//! What every figure must keep, whatever it shows.

use super::*;

fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    (frame.width, frame.height, pixels)
}

/// How many pixels of a PNG are neither black, gray nor white.
fn colored_pixels(png: &[u8]) -> usize {
    let (_, _, pixels) = decode(png);
    pixels
        .chunks_exact(3)
        .filter(|p| p.iter().max().unwrap() - p.iter().min().unwrap() > 20)
        .count()
}

fn axes() -> (Axis, Axis) {
    (Axis::new("steps & <stairs>"), Axis::new("value"))
}

fn lines(curves: Vec<Curve>) -> Panel {
    let (x, y) = axes();
    Panel::lines("lines", x, y, curves)
}

/// One panel of every kind, filled or not.
fn every_kind(values: &[f64]) -> Vec<Panel> {
    let x: Vec<f64> = (0..values.len()).map(|i| i as f64).collect();
    let group = || Group::new("group", Ink::Lp2, values.to_vec());
    let axis = || Axis::new("axis");
    let pairs = values.iter().map(|&v| (v, v)).collect();
    let matrices = values.iter().map(|&v| Matrix::new(1, 2, vec![v as f32, 0.0])).collect();
    vec![
        lines(vec![Curve::over_runs("curve", Ink::Lp2, &x, &[values.to_vec(), values.to_vec()])]),
        Panel::distributions("violin", axis(), axis(), Shape::Violin, vec![group()]),
        Panel::distributions("log violin", axis(), axis().log(), Shape::Violin, vec![group()]),
        Panel::distributions("box", axis(), axis(), Shape::Box, vec![group()]),
        Panel::distributions("strip", axis(), axis(), Shape::Strip, vec![group()]),
        Panel::bars("bars", axis(), axis(), vec![Bar::of_points("bar", Ink::Lp2, values.to_vec())]),
        Panel::scatter("scatter", axis(), axis(), vec![Cloud::new("cloud", Ink::Lp2, pairs)]),
        Panel::histogram("histogram", axis(), axis(), 4, vec![group()]),
        Panel::orientations("rose", 4, group()),
        Panel::gallery("gallery", Gallery::new(2, matrices)),
    ]
}

#[test]
fn png_has_two_pixels_a_unit_and_is_not_blank() {
    let curve = Curve::new("lp2", Ink::Lp2, &[0.0, 1.0], &[0.0, 1.0]);
    let figure = Figure::new("f", "title").panel(lines(vec![curve])).width(400.0);
    let png = figure.png().unwrap();
    let svg = figure.svg().unwrap();
    let (width, height, _) = decode(&png);
    assert_eq!(width, 800);
    assert!(svg.contains(&format!("viewBox=\"0 0 400 {}\"", height / 2)), "{}", &svg[..200]);
    assert!(colored_pixels(&png) > 500);
}

#[test]
fn every_kind_draws_its_data() {
    for panel in every_kind(&[0.5, 1.0, 1.5, 2.5]) {
        let title = panel.title.clone();
        let figure = Figure::new("f", "").panel(panel).width(400.0);
        let seen = colored_pixels(&figure.png().unwrap());
        assert!(seen > 100, "{title}: {seen} pixels");
        assert!(!figure.svg().unwrap().contains("no data"), "{title}");
    }
}

#[test]
fn nothing_to_show_is_said_and_never_a_panic() {
    for values in [vec![], vec![f64::NAN; 3], vec![f64::INFINITY]] {
        for panel in every_kind(&values) {
            let title = panel.title.clone();
            if panel.is_gallery() && !values.is_empty() {
                continue; // a matrix of NaN shows as gray
            }
            let figure = Figure::new("f", "").panel(panel).width(300.0);
            let svg = figure.svg().unwrap();
            assert!(svg.contains("no data"), "{title} of {values:?}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{title} of {values:?}: {svg}");
            decode(&figure.png().unwrap());
        }
    }
    assert!(Figure::new("f", "").svg().unwrap().contains("no data"));
}

#[test]
fn odd_values_among_good_ones_do_no_harm() {
    for values in [
        vec![1.0],
        vec![2.0; 5],
        vec![-1.0, 0.0],
        vec![1.0, f64::NAN, 3.0],
        vec![1e-300, 1e300],
        vec![1e-9, 1e15],
        vec![-1e100, 1e100],
    ] {
        for panel in every_kind(&values) {
            let title = panel.title.clone();
            let figure = Figure::new("f", "").panel(panel).width(300.0);
            let svg = figure.svg().unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{title} of {values:?}");
            decode(&figure.png().unwrap());
        }
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let curve = Curve::new("c", Ink::Base, &[0.0, 1.0, 2.0], &[1.0, f64::NAN, 3.0]);
    let svg = Figure::new("f", "").panel(lines(vec![curve])).svg().unwrap();
    assert!(svg.contains("1 value not drawn"), "{svg}");
}

#[test]
fn words_are_escaped() {
    let curve = Curve::new("a < b", Ink::Base, &[0.0, 1.0], &[0.0, 1.0]);
    let other = Curve::new("$c$ \"d\"", Ink::Large, &[0.0, 1.0], &[0.0, 1.0]);
    let svg = Figure::new("f", "R&D").panel(lines(vec![curve, other])).svg().unwrap();
    for expected in ["R&amp;D", "a &lt; b", "$c$ &quot;d&quot;", "steps &amp; &lt;stairs&gt;"] {
        assert!(svg.contains(expected), "no {expected:?} in {svg}");
    }
}

#[test]
fn a_legend_explains_each_meaning_once() {
    let curve = |name: &str, ink| Curve::new(name, ink, &[0.0, 1.0], &[0.0, 1.0]);
    let panel = || lines(vec![curve("base", Ink::Base), curve("lp2", Ink::Lp2)]);
    let svg = Figure::new("f", "").panels([panel(), panel()]).svg().unwrap();
    assert_eq!(svg.matches(">lp2<").count(), 1);
    let alone = Figure::new("f", "").panel(lines(vec![curve("base", Ink::Base)])).svg().unwrap();
    assert_eq!(alone.matches(">base<").count(), 0);
}

#[test]
fn the_same_figure_is_the_same_bytes_and_ids_carry_its_name() {
    let figure = |id: &str| Figure::new(id, "").panels(every_kind(&[1.0, 2.0, 4.0]));
    let (first, second) = (figure("one").svg().unwrap(), figure("one").svg().unwrap());
    assert!(first == second, "two drawings of a figure differ");
    assert!(
        figure("one").png().unwrap() == figure("one").png().unwrap(),
        "two pictures of a figure differ"
    );
    let ids = |svg: &str| {
        svg.split(" id=\"")
            .skip(1)
            .map(|s| s.split('"').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (one, two) = (ids(&first), ids(&figure("two").svg().unwrap()));
    assert!(!one.is_empty() && one.iter().all(|id| id.starts_with("one-")), "{one:?}");
    assert!(two.iter().all(|id| !one.contains(id)));
}

#[test]
fn thousands_of_masks_stay_small() {
    let mask =
        |i: usize| Matrix::new(7, 7, (0..49).map(|j| ((i + j) % 50) as f32 / 49.0).collect());
    let panels = (0..10).map(|layer| {
        Panel::gallery(format!("layer {layer}"), Gallery::new(16, (0..256).map(mask).collect()))
    });
    let figure = Figure::new("masks", "").panels(panels).columns(5).width(1500.0);
    let svg = figure.svg().unwrap();
    assert_eq!(svg.matches("<image ").count(), 10);
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    let (width, ..) = decode(&figure.png().unwrap());
    assert_eq!(width, 3000);
}

/// A gallery's picture and the image inside its SVG come from the same values.
#[test]
fn svg_and_png_show_the_same_matrix() {
    let matrix = Matrix::new(2, 2, vec![0.0, 1.0, f32::NAN, 0.5]);
    let figure = Figure::new("f", "")
        .panel(Panel::gallery("", Gallery::new(1, vec![matrix]).max_cell(40.0)));
    let canvas = figure.draw();
    let raster = &canvas.rasters[0];
    assert_eq!((raster.width_px, raster.height_px), (80, 80));
    let corner = |x: usize, y: usize| raster.indices[y * 80 + x];
    assert_eq!([corner(0, 0), corner(79, 0), corner(0, 79), corner(79, 79)], [0, 253, 254, 127]);
    let (width, _, pixels) = decode(&figure.png().unwrap());
    for (x, y) in [(0, 0), (79, 0), (0, 79), (79, 79), (39, 39), (40, 40)] {
        let at =
            (((raster.y * 2.0) as usize + y) * width as usize + (raster.x * 2.0) as usize + x) * 3;
        assert_eq!(pixels[at..at + 3], gallery::palette()[usize::from(corner(x, y))]);
    }
}

#[test]
fn letters_go_on_after_z() {
    assert_eq!([0, 25, 26, 51, 52].map(letter), ["a", "z", "aa", "az", "ba"]);
}

#[test]
fn save_writes_both_files() {
    let directory = tempfile::tempdir().unwrap();
    let figure = Figure::new("nothing", "");
    let files = figure.save(directory.path()).unwrap();
    assert!(std::fs::read_to_string(files.svg).unwrap().starts_with("<svg "));
    assert_eq!(std::fs::read(files.png).unwrap(), figure.png().unwrap());
    let error = figure.save(&directory.path().join("missing")).unwrap_err().to_string();
    assert!(error.contains("nothing.svg"), "{error}");
}

#[test]
#[should_panic(expected = "figure: \"../x\" cannot name files")]
fn ids_are_plain_names() {
    Figure::new("../x", "");
}

#[test]
fn brackets_and_scale_bars_carry_their_words() {
    let groups = || [1.0, 3.0, 9.0].map(|v| Group::new("g", Ink::Lp2, vec![v, 1.5 * v])).to_vec();
    for axis in [Axis::new("p"), Axis::new("p").log()] {
        let panel = Panel::distributions("", Axis::new(""), axis, Shape::Strip, groups());
        let plain = Figure::new("f", "").panel(panel.clone()).svg().unwrap();
        let panel = panel.bracket(0, 1, "***").bracket(0, 2, "ns");
        let figure = Figure::new("f", "").panel(panel).svg().unwrap();
        assert!(figure.contains(">***<") && figure.contains(">ns<"), "{figure}");
        assert!(!plain.contains(">***<"));
    }
    let gallery =
        Gallery::new(2, vec![Matrix::new(2, 4, vec![0.5; 8]); 2]).scale_bar(2.0, "100 µm");
    let figure = Figure::new("f", "").panel(Panel::gallery("", gallery)).svg().unwrap();
    assert!(figure.contains(">100 µm<"), "{figure}");
}

#[test]
#[should_panic(expected = "bracket: 0 and 1 of 1 groups or bars")]
fn a_bracket_needs_its_groups() {
    let group = Group::new("g", Ink::Lp2, vec![1.0]);
    let axis = || Axis::new("");
    let _ = Panel::distributions("", axis(), axis(), Shape::Strip, vec![group]).bracket(0, 1, "*");
}
