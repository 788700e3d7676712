"""The course's pages by Sphinx: lessons, docs and the package. `make site` calls it."""

project = "Long-tail contrastive learning"
author = "The ltcl-kit authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "ltcl_helpers.course.mathml"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the lessons come executed
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
nb_render_markdown_format = "myst"  # tables and formulas in what a cell displays
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "toc.not_included"]

napoleon_use_ivar = True  # attributes stand in the class, not a second time beside it
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as written: a default's value may name a folder of this machine
autodoc_typehints = "description"  # a line an argument, where a signature would be cut
default_role = "code"  # the docstrings are Markdown

html_theme = "sphinx_book_theme"
html_title = project
html_extra_path = ["extra"]
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_math_renderer = "mathml"  # no script and no network
html_copy_source = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],  # else a second field to search in, above the one at the side
}
