// What a browser has made of a page, for Browser.java.
addEventListener("load", () => {
  const outside = (inner, outer) => inner.left < outer.left - 1 || inner.right > outer.right + 1 ||
    inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  // Boxes of text have room above and below the letters.
  const collide = (one, other) => one.left < other.right - 1 && other.left < one.right - 1 &&
    one.top < other.bottom - 3 && other.top < one.bottom - 3;
  const problems = [];
  const charts = [];
  for (const svg of document.querySelectorAll("svg")) {
    const all = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(text => ({ says: text.textContent, box: text.getBoundingClientRect() }));
    texts.forEach((text, i) => {
      if (outside(text.box, all)) problems.push("cut off: " + text.says);
      for (const other of texts.slice(i + 1))
        if (collide(text.box, other.box)) problems.push(`one on the other: ${text.says} and ${other.says}`);
    });
    for (const mark of svg.querySelectorAll("rect, circle"))
      if (outside(mark.getBoundingClientRect(), all)) problems.push("outside its chart: " + mark.outerHTML);
    charts.push({ width: all.width, height: all.height, marks: svg.querySelectorAll("rect, circle").length,
      letters: parseFloat(getComputedStyle(svg).fontSize) * all.width / svg.viewBox.baseVal.width });
  }
  for (const figure of document.querySelectorAll("figure"))
    if (figure.scrollWidth > figure.clientWidth) problems.push("has to be scrolled: " + figure.innerText);
  if (document.documentElement.scrollWidth > innerWidth)
    problems.push(`wider than the window: ${document.documentElement.scrollWidth} of ${innerWidth}`);
  for (const all of [document.body.innerText, document.title])
    for (const word of all.match(/\bNaN\b|\bundefined\b|\bInfinity\b|\{\}|\b\d+E-?\d+\b/g) || []) problems.push("says " + word);
  document.documentElement.dataset.look = JSON.stringify({ charts, problems, width: innerWidth,
    heading: document.querySelector("h1")?.innerText ?? "", paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color });
});
