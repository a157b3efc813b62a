/** The box of the tomogram, the shown slice and the particles in 3D. Loaded only when needed: three.js is large. */

import {
  AmbientLight,
  BoxGeometry,
  BufferAttribute,
  BufferGeometry,
  CanvasTexture,
  Color,
  DirectionalLight,
  DoubleSide,
  EdgesGeometry,
  Group,
  LineBasicMaterial,
  LineSegments,
  Mesh,
  MeshBasicMaterial,
  MeshStandardMaterial,
  PerspectiveCamera,
  PlaneGeometry,
  Raycaster,
  Scene,
  SphereGeometry,
  SRGBColorSpace,
  Vector2,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type * as api from "./api";
import type { Point } from "./geometry";

/** A drawn particle: its key, its colour, and whether it is selected. */
export interface Body {
  readonly key: string;
  readonly colour: string;
  readonly isSelected: boolean;
  /** From 0 to 1; what is inside a membrane or compartment shows through. */
  readonly opacity: number;
}

/** A click or a particle without a mask. */
export interface Dot {
  readonly point: Point;
  readonly colour: string;
  readonly radius: number;
}

const HALF_A_TURN = Math.PI;

/** In three.js x is right, y is up and z is towards the viewer; in plane z of a tomogram, y is down. */
function place(target: Vector3, point: Point): Vector3 {
  return target.set(point[2], -point[1], -point[0]);
}

export class VolumeView {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(35, 1, 1, 1e5);
  private readonly controls: OrbitControls;
  private readonly bodies = new Group();
  private readonly dots = new Group();
  private readonly box: LineSegments<EdgesGeometry, LineBasicMaterial>;
  private readonly plane: Mesh<PlaneGeometry, MeshBasicMaterial>;
  private readonly light = new DirectionalLight(0xffffff, 2.4);
  private readonly meshes = new Map<string, Mesh<BufferGeometry, MeshStandardMaterial>>();
  private readonly observer: ResizeObserver;
  private shape: Point = [1, 1, 1];
  private asked = 0;

  /** Throws if the browser has no WebGL. */
  constructor(private readonly host: HTMLElement) {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    const { domElement } = this.renderer;
    domElement.setAttribute("aria-hidden", "true");
    host.append(domElement);
    this.controls = new OrbitControls(this.camera, domElement);
    this.controls.addEventListener("change", () => this.draw());
    this.box = new LineSegments(new EdgesGeometry(), new LineBasicMaterial({ color: 0x5b6675 }));
    this.plane = new Mesh(
      new PlaneGeometry(1, 1),
      new MeshBasicMaterial({ side: DoubleSide, transparent: true, opacity: 0.55, depthWrite: false }),
    );
    this.plane.visible = false;
    this.scene.add(this.box, this.plane, this.bodies, this.dots, new AmbientLight(0xffffff, 1.1), this.light);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
  }

  dispose(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.asked);
    this.controls.dispose();
    for (const mesh of this.meshes.values()) mesh.geometry.dispose();
    this.renderer.dispose();
    this.renderer.domElement.remove();
  }

  setShape(shape: Point): void {
    this.shape = shape;
    this.box.geometry.dispose();
    this.box.geometry = new EdgesGeometry(new BoxGeometry(shape[2], shape[1], shape[0]));
    place(this.box.position, [(shape[0] - 1) / 2, (shape[1] - 1) / 2, (shape[2] - 1) / 2]);
    this.clear();
    this.home();
  }

  /** Shows the whole box from above and slightly from the side. */
  home(): void {
    const size = Math.hypot(...this.shape);
    const target = this.box.position;
    const narrow = Math.min(1, this.camera.aspect);
    this.camera.position.copy(target).add(new Vector3(0.45, -0.75, 1).setLength((1.5 * size) / narrow));
    this.camera.up.set(0, 1, 0);
    this.controls.target.copy(target);
    this.camera.near = size / 100;
    this.camera.far = size * 20;
    this.camera.updateProjectionMatrix();
    this.controls.update();
    this.draw();
  }

  clear(): void {
    for (const mesh of this.meshes.values()) mesh.geometry.dispose();
    this.meshes.clear();
    this.bodies.clear();
    this.draw();
  }

  has(key: string): boolean {
    return this.meshes.has(key);
  }

  addMesh(key: string, mesh: api.Mesh): void {
    this.meshes.get(key)?.geometry.dispose();
    const positions = new Float32Array(mesh.vertices.length);
    for (let i = 0; i < positions.length; i += 3) {
      positions[i] = mesh.vertices[i + 2]!;
      positions[i + 1] = -mesh.vertices[i + 1]!;
      positions[i + 2] = -mesh.vertices[i]!;
    }
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(positions, 3));
    geometry.setIndex(new BufferAttribute(mesh.faces, 1));
    geometry.computeVertexNormals();
    const made = new Mesh(geometry, new MeshStandardMaterial({ roughness: 0.55, side: DoubleSide }));
    made.userData.key = key;
    this.meshes.set(key, made);
  }

  /** Shows exactly these particles; those without a mesh are skipped. */
  show(bodies: readonly Body[], dots: readonly Dot[]): void {
    this.bodies.clear();
    for (const { key, colour, isSelected, opacity } of bodies) {
      const mesh = this.meshes.get(key);
      if (!mesh) continue;
      mesh.material.color.set(isSelected ? "#ffffff" : colour);
      mesh.material.emissive = isSelected ? new Color(colour).multiplyScalar(0.5) : new Color(0);
      mesh.material.opacity = opacity;
      mesh.material.transparent = opacity < 1;
      mesh.material.depthWrite = opacity === 1;
      this.bodies.add(mesh);
    }
    this.dots.clear();
    for (const { point, colour, radius } of dots) {
      const dot = new Mesh(
        new SphereGeometry(radius, 16, 12),
        new MeshStandardMaterial({ color: colour, emissive: colour, emissiveIntensity: 0.35 }),
      );
      place(dot.position, point);
      this.dots.add(dot);
    }
    this.draw();
  }

  /** Shows the current z slice as a picture in the box. */
  setSlice(picture: HTMLCanvasElement, index: number): void {
    this.plane.material.map?.dispose();
    const texture = new CanvasTexture(picture);
    texture.colorSpace = SRGBColorSpace;
    this.plane.material.map = texture;
    this.plane.material.needsUpdate = true;
    this.plane.scale.set(this.shape[2], this.shape[1], 1);
    place(this.plane.position, [index, (this.shape[1] - 1) / 2, (this.shape[2] - 1) / 2]);
    this.plane.visible = true;
    this.draw();
  }

  /** Key of the particle at a position in the pane, in CSS pixels from its corner. */
  keyAt(x: number, y: number): string | null {
    const pointer = new Vector2((2 * x) / this.host.clientWidth - 1, 1 - (2 * y) / this.host.clientHeight);
    const ray = new Raycaster();
    ray.setFromCamera(pointer, this.camera);
    return (ray.intersectObjects(this.bodies.children)[0]?.object.userData.key as string | undefined) ?? null;
  }

  /** Rotates the view by fractions of half a turn, for the keyboard. */
  turn(across: number, down: number): void {
    const offset = this.camera.position.clone().sub(this.controls.target);
    offset.applyAxisAngle(this.camera.up, -across * HALF_A_TURN);
    offset.applyAxisAngle(new Vector3().crossVectors(offset, this.camera.up).normalize(), down * HALF_A_TURN);
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
    this.draw();
  }

  zoom(factor: number): void {
    this.camera.position.sub(this.controls.target).divideScalar(factor).add(this.controls.target);
    this.controls.update();
    this.draw();
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.host;
    if (!clientWidth || !clientHeight) return;
    const isFirst = this.camera.aspect === 1;
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
    if (isFirst) this.home();
    this.draw();
  }

  private draw(): void {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      this.light.position.copy(this.camera.position);
      this.renderer.render(this.scene, this.camera);
    });
  }
}
