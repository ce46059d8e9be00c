// What the widgets say, by language; {name} stands for a value.

import { LANGUAGES } from "./languages.mjs?v=0.1.0";

export const ENGLISH = {
  facesTitle: "faces in the picture",
  modelsTitle: "about the model",
  compareTitle: "before and after",
  all: "all",
  none: "none",
  takeAll: "Take every face",
  takeNone: "Leave every face out",
  previousPicture: "Previous picture",
  nextPicture: "Next picture",
  countOf: "{taken} of {shown} faces",
  facesOf: "{shown} faces of picture {page}: arrows walk, space takes or leaves one, D draws a box",
  faceLabel: "face {number}, {size} px, confidence {percent} %",
  drawnLabel: "drawn face {number}, taken; Delete removes it",
  taken: "taken",
  leftOut: "left out",
  hint: "Click a face to leave it out, drag over one that was missed.",
  noFace: "No face was found: lower the confidence, or drag over one.",
  runToSee: "Run the workflow to see and pick the faces.",
  runToSeeChoice: "Faces are picked in this workflow; run it to see them.",
  runToApply: "Run to apply the choice.",
  drawing: "Drawing: arrows move, shift and arrows size, Enter keeps, Escape drops.",
  badChoice: "The stored choice cannot be read; picking a face starts anew.",
  otherVersion: "This result is of another version of the pack; run again.",
  gone: "The preview is no longer on the server; run again.",
  notSaved: "The server could not save the preview: {error}",
  moreFaces: "{count} more are not shown.",
  morePictures: "{count} more pictures are not shown.",
  before: "before",
  after: "after",
  overlay: "invented detail",
  slider: "Before and after: left of it before, right of it after",
  splitAt: "{percent} % before",
  previousFace: "Previous",
  nextFace: "Next",
  zoom: "Zoom to one pixel of the preview per pixel (Z)",
  invented: "invented",
  inventedLong: "Show in gold which detail was invented (I)",
  findings: "What was found wrong",
  similarity: "Similarity to the person before",
  threshold: "(at least {value})",
  runToCompare: "Run the workflow to compare before and after.",
  nothingToCompare: "There was no face, so nothing changed.",
  allModels: "All models",
  auto: "auto: {title}",
  licence: "Licence",
  refusedLicence: "refused: not cleared for commercial use",
  noModel: "needs no model",
  noAuto: "none of these models is on disk",
  noServer: "the server does not answer",
  fetching: "Fetching {title}",
  "state built in": "comes with the pack",
  "state on disk": "on disk, {size}",
  "state download": "fetched on first use, {size}",
  "state by hand": "to be placed by hand: {file} into models/{folder}",
  "state refused": "the file on disk cannot be used; hover for the reason",
  "commercial yes": "commercial use",
  "commercial no": "non-commercial",
  "commercial unclear": "licence unclear",
};

// The table of a language such as "de" or "pt-BR", English where it has none.
export function tableOf(locale) {
  const name = String(locale ?? "en").toLowerCase();
  return LANGUAGES[name] ?? LANGUAGES[name.split("-")[0]] ?? ENGLISH;
}

// A function from a word's name and its values to the text in the language that `locale` names.
export function speaker(locale) {
  return (name, values = {}) => {
    const text = tableOf(locale())[name] ?? ENGLISH[name] ?? name;
    return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));
  };
}
