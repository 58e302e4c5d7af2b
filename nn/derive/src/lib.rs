//! The derive macro of `nn::Module`; use it through `nn`.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, LitStr, parse_macro_input, spanned::Spanned};

/// What `#[module(...)]` on a field says.
#[derive(Default)]
struct FieldOptions {
    skip: bool,
    flatten: bool,
    rename: Option<LitStr>,
}

fn options(field: &syn::Field) -> syn::Result<FieldOptions> {
    let mut options = FieldOptions::default();
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                options.skip = true;
            } else if meta.path.is_ident("flatten") {
                options.flatten = true;
            } else if meta.path.is_ident("rename") {
                options.rename = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("expected `skip`, `flatten` or `rename = \"...\"`"));
            }
            Ok(())
        })?;
    }
    Ok(options)
}

/// Derives `nn::Module` for a struct with named fields: every field is a child under its own name.
///
/// Fields are parameters (`Param`), buffers (`Buffer`), modules, `Box<dyn Forward>`, or `Vec` or `Option` of them. On a field,
/// `#[module(skip)]` leaves out what is no part of the tree (sizes, options), `#[module(rename = "0")]` gives another
/// name in the state dict, and `#[module(flatten)]` puts a module's children in the place of the field.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|e| e.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => named.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(_) => {
                return Err(syn::Error::new(
                    input.span(),
                    "Module needs named fields: names are the keys of the state dict",
                ));
            }
        },
        _ => return Err(syn::Error::new(input.span(), "Module can be derived for structs only")),
    };
    let (mut shared, mut exclusive) = (Vec::new(), Vec::new());
    for field in fields {
        let options = options(field)?;
        let Some(ident) = &field.ident else { continue };
        if options.skip {
            continue;
        }
        let name = match &options.rename {
            Some(name) => name.value(),
            None => ident.to_string().trim_start_matches("r#").to_owned(),
        };
        // A flattened child is collected under the empty name: its own children keep theirs.
        let name = if options.flatten { String::new() } else { name };
        shared.push(quote! { ::nn::module::Field::collect(&self.#ident, #name, &mut out); });
        exclusive
            .push(quote! { ::nn::module::Field::collect_mut(&mut self.#ident, #name, &mut out); });
    }
    let ident = &input.ident;
    let type_name = ident.to_string();
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::nn::Module for #ident #ty_generics #where_clause {
            fn type_name(&self) -> &'static str {
                #type_name
            }
            fn children(&self) -> ::std::vec::Vec<(::std::string::String, ::nn::module::Child<'_>)> {
                #[allow(unused_mut)]
                let mut out = ::std::vec::Vec::new();
                #(#shared)*
                out
            }
            fn children_mut(
                &mut self,
            ) -> ::std::vec::Vec<(::std::string::String, ::nn::module::ChildMut<'_>)> {
                #[allow(unused_mut)]
                let mut out = ::std::vec::Vec::new();
                #(#exclusive)*
                out
            }
        }
        impl #impl_generics ::nn::module::Field for #ident #ty_generics #where_clause {
            fn collect<'a>(
                &'a self,
                name: &str,
                out: &mut ::std::vec::Vec<(::std::string::String, ::nn::module::Child<'a>)>,
            ) {
                ::nn::module::collect_module(self, name, out);
            }
            fn collect_mut<'a>(
                &'a mut self,
                name: &str,
                out: &mut ::std::vec::Vec<(::std::string::String, ::nn::module::ChildMut<'a>)>,
            ) {
                ::nn::module::collect_module_mut(self, name, out);
            }
        }
    })
}
