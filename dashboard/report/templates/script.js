const TEMPLATES = {{ plotly_templates | tojson }};
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = {displaylogo: false, displayModeBar: false, showTips: false, responsive: true};
const scheme = () => TEMPLATES[dark.matches ? "dark" : "light"];
addEventListener("DOMContentLoaded", () => {
  for (const drawing of document.querySelectorAll("figure > script")) {
    const {data, layout} = JSON.parse(drawing.textContent);
    const plot = drawing.parentElement.querySelector(".plot");
    Plotly.newPlot(plot, data, {...layout, template: scheme()}, config);
  }
});
dark.addEventListener("change", () => {
  for (const plot of document.querySelectorAll(".plot")) {
    Plotly.relayout(plot, {template: scheme()});
  }
});
function save(button, format) {  // pictures are light: they go into papers
  const plot = button.closest("figure").querySelector(".plot");
  const {width, height} = plot.getBoundingClientRect();
  const layout = {...plot.layout, template: TEMPLATES.light, width, height};
  Plotly.downloadImage({data: plot.data, layout}, {
    format, width, height, scale: 2, filename: plot.closest("figure").id,
  });
}
