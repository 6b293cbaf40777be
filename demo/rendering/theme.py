"""The page's look in gradio's terms: system fonts, slate neutrals, one teal accent, light and dark."""

import gradio as gr
from gradio.themes.utils import colors, sizes

SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
COLOURS = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "#0d1420",
    "background_fill_primary_dark": "#151e2c",
    "background_fill_secondary_dark": "#1b2636",
    "block_background_fill": "white",
    "block_background_fill_dark": "#151e2c",
    "block_border_color": "*neutral_200",
    "block_border_color_dark": "#2b394d",
    "border_color_primary_dark": "#2b394d",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_400",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_400",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_300",
    "block_title_text_color": "*neutral_700",
    "block_title_text_color_dark": "*neutral_200",
    "block_title_text_weight": "600",
    "input_background_fill": "white",
    "input_background_fill_dark": "#0d1420",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "#3a4a61",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_400",
    "button_primary_background_fill_hover_dark": "*primary_300",
    "button_primary_text_color": "white",
    "button_primary_text_color_dark": "#06231f",
    "button_secondary_background_fill": "white",
    "button_secondary_background_fill_hover": "*neutral_100",
    "button_secondary_background_fill_dark": "#1b2636",
    "button_secondary_background_fill_hover_dark": "#243247",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "#3a4a61",
    "button_border_width": "1px",
    "checkbox_label_background_fill": "white",
    "checkbox_label_background_fill_dark": "#1b2636",
    "checkbox_label_border_color": "*neutral_300",
    "checkbox_label_border_color_dark": "#3a4a61",
    "checkbox_label_border_width": "1px",
    "checkbox_label_background_fill_selected": "*primary_700",
    "checkbox_label_background_fill_selected_dark": "*primary_400",
    "checkbox_label_text_color_selected": "white",
    "checkbox_label_text_color_selected_dark": "#06231f",
    "slider_color": "*primary_700",
    "slider_color_dark": "*primary_400",
}


def build_theme() -> gr.themes.Base:
    """A theme that fetches nothing: fonts are the reader's own."""
    theme = gr.themes.Base(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_lg,
        spacing_size=sizes.spacing_md,
        font=SYSTEM_FONTS,
        font_mono=SYSTEM_MONO,
    )
    return theme.set(**COLOURS)
